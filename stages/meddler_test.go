package stages_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// meddler stands between Godwit and an IMAP server, without TLS, and answers
// some commands itself, as servers do that demohost is not.
type meddler struct {
	Address string
	mu      sync.Mutex
	answers map[string]string // by command: what follows the tag
	before  map[string]string // by command: untagged lines before that
	extra   string            // capabilities, each with a blank after it
}

// newMeddler starts one before server. It ends with the test.
func newMeddler(t *testing.T, server string) *meddler {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	m := &meddler{Address: l.Addr().String(), answers: map[string]string{}, before: map[string]string{}}
	var serving sync.WaitGroup
	t.Cleanup(func() { l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { m.serve(client, server) })
		}
	})
	return m
}

// answer has commands of this name answered so from now on; "" ends that.
func (m *meddler) answer(command, before, with string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[command], m.before[command] = with, before
}

func (m *meddler) serve(client net.Conn, server string) {
	defer client.Close()
	// The server is demohost on loopback; what is tested is not this line.
	up, err := tls.Dial("tcp", server, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	done := make(chan struct{})
	go func() { // the server's lines
		defer close(done)
		defer client.Close()
		r := bufio.NewReader(up)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			m.mu.Lock()
			line = strings.Replace(line, "CAPABILITY ", "CAPABILITY "+m.extra, 1)
			m.mu.Unlock()
			if _, err := io.WriteString(client, line); err != nil {
				return
			}
		}
	}()
	m.listen(bufio.NewReader(client), client, up)
	up.Close()
	<-done
}

var literal = regexp.MustCompile(`\{(\d+)(\+?)\}\r\n$`)

// listen passes the client's commands on, or answers them.
func (m *meddler) listen(r *bufio.Reader, client, up io.Writer) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		words := append(strings.Fields(line), "", "", "")
		name := strings.ToUpper(words[1])
		if name == "UID" {
			name += " " + strings.ToUpper(words[2])
		}
		m.mu.Lock()
		answer, before := m.answers[name], m.before[name]
		m.mu.Unlock()
		out := up
		if answer != "" {
			out = io.Discard
		}
		for {
			if _, err := io.WriteString(out, line); err != nil {
				return
			}
			size := literal.FindStringSubmatch(line)
			if size == nil || answer != "" && size[2] == "" { // without a go-ahead no literal comes
				break
			}
			n, _ := strconv.ParseInt(size[1], 10, 64)
			if _, err := io.CopyN(out, r, n); err != nil {
				return
			}
			if line, err = r.ReadString('\n'); err != nil {
				return
			}
		}
		if answer != "" {
			if _, err := io.WriteString(client, before+words[0]+" "+answer+"\r\n"); err != nil {
				return
			}
		}
	}
}
