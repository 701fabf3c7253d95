package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// proxy passes TCP on, later and only so far: for round trips and broken lines.
func proxy(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	set := flags("proxy", "proxy -to ADDRESS [-listen ADDRESS] [-delay 20ms] [-cut-after N]  (ends when stdin closes)")
	to := set.String("to", "", "the server's `address`")
	listen := set.String("listen", "127.0.0.1:0", "where to listen")
	delay := set.Duration("delay", 0, "added to each round trip, half of it each way")
	cut := set.Int64("cut-after", 0, "end each connection after this many `octets` from the server; 0: never")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *to == "" {
		set.Usage()
		return errors.New("proxy: -to is missing")
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(stdout).Encode(map[string]string{"address": listener.Addr().String()}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // an error is an end as well
		cancel()
	}()
	return serveProxy(ctx, listener, *to, *delay/2, *cut)
}

// serveProxy takes connections until ctx ends.
func serveProxy(ctx context.Context, listener net.Listener, to string, oneWay time.Duration, cut int64) error {
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	for {
		client, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer client.Close()
			server, err := net.Dial("tcp", to)
			if err != nil {
				return // the client sees its connection end
			}
			defer server.Close()
			defer context.AfterFunc(ctx, func() { _ = client.Close() })()
			var both sync.WaitGroup
			both.Go(func() { pass(server, client, oneWay, 0) })
			both.Go(func() { pass(client, server, oneWay, cut) })
			both.Wait()
		}()
	}
}

// chunk is what was read, and when it is due on the other side.
type chunk struct {
	data []byte
	due  time.Time
}

// pass carries from one side to the other and ends both at the end of either.
func pass(to, from net.Conn, delay time.Duration, cut int64) {
	line := make(chan chunk, 4096) // on its way; bounds what a fast sender may have in flight
	go func() {
		defer close(line)
		left := cut
		for {
			data := make([]byte, 32<<10)
			n, err := from.Read(data)
			if cut > 0 && int64(n) >= left {
				line <- chunk{data[:left], time.Now().Add(delay)}
				return
			}
			left -= int64(n)
			if n > 0 {
				line <- chunk{data[:n], time.Now().Add(delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	broken := false
	for c := range line {
		time.Sleep(time.Until(c.due))
		if broken {
			continue // read on, so that the reader can end
		}
		if _, err := to.Write(c.data); err != nil {
			broken = true
			_ = from.Close()
		}
	}
	_ = to.Close()
	_ = from.Close()
}
