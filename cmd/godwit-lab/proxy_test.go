package main

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// echo is a server that says everything back.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// through opens a connection to echo through a proxy.
func through(t *testing.T, oneWay time.Duration, cut int64) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	to := echo(t)
	go func() { ended <- serveProxy(ctx, l, to, oneWay, cut) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestProxyDelaysRoundTrips(t *testing.T) {
	c := through(t, 30*time.Millisecond, 0)
	start := time.Now()
	for range 3 {
		if _, err := c.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took < 180*time.Millisecond {
		t.Errorf("three round trips of 60 ms took %s", took)
	}
}

func TestProxyCutsAtTheOctet(t *testing.T) {
	c := through(t, 0, 100_000)
	go func() { _, _ = c.Write(make([]byte, 300_000)) }()
	got, _ := io.Copy(io.Discard, c) // how it ends does not matter
	if got != 100_000 {
		t.Errorf("%d octets came through, want 100000", got)
	}
}

func TestProxyCarriesAllOfMuch(t *testing.T) {
	c := through(t, time.Millisecond, 0)
	const much = 20 << 20
	go func() { _, _ = c.Write(make([]byte, much)) }()
	if got, err := io.CopyN(io.Discard, c, much); err != nil {
		t.Errorf("%d octets came through, want %d: %v", got, much, err)
	}
}
