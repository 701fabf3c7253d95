package mailbox_test

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/stages/mailbox"
)

// script is a source that misbehaves as told. What it does not override is
// said as a sane server would.
type script struct {
	greeting string
	caps     string
	list     []string // LIST lines, without "* LIST "
	messages []scripted
	// say overrides the answer to a command; what it returns is sent as it
	// stands, with TAG replaced. hangUp ends the connection after it.
	say func(s *script, command string) (answer string, handled, hangUp bool)

	mu   sync.Mutex
	seen []string
	tag  string // of the command that say is asked about
}

// scripted is one message, its items as they go over the wire.
type scripted struct {
	uid                     int
	flags, date, size, body string
}

func plainMessage(uid int) scripted {
	body := mail(fmt.Sprint("m", uid), "s", fmt.Sprint("text of ", uid))
	return scripted{uid: uid, flags: `\Seen`, date: `"04-Mar-2021 05:06:07 +0200"`, size: strconv.Itoa(len(body)), body: body}
}

func (s *script) start(t *testing.T) mailbox.Endpoint {
	t.Helper()
	if s.greeting == "" {
		s.greeting = "* OK hello"
	}
	if s.caps == "" {
		s.caps = sourceCaps
	}
	if s.list == nil {
		s.list = []string{`() "/" INBOX`}
	}
	return mailbox.Endpoint{
		Server: &mailbox.Server{Address: listen(t, s.serve), TLS: "none", Stall: 2 * time.Second},
		Login:  mailbox.Login{User: "anna", Secret: secret(userSecret)},
	}
}

// listen has each connection served until the test is over; serve closes it.
func listen(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return l.Addr().String()
}

// told are the commands so far. Nobody waits for the last LOGOUT.
func (s *script) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func (s *script) serve(c net.Conn) {
	defer c.Close()
	fmt.Fprintf(c, "%s\r\n", s.greeting)
	br := bufio.NewReader(c)
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		tag, command, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		s.mu.Lock()
		s.seen, s.tag = append(s.seen, command), tag
		answer, handled, hangUp := "", false, false
		if s.say != nil {
			answer, handled, hangUp = s.say(s, command)
		}
		s.mu.Unlock()
		if !handled {
			answer = s.sane(command)
		}
		if _, err := c.Write([]byte(strings.ReplaceAll(answer, "TAG", tag))); err != nil || handled && hangUp || command == "LOGOUT" {
			return
		}
	}
}

func (s *script) sane(command string) string {
	word, rest, _ := strings.Cut(command, " ")
	var b strings.Builder
	switch word {
	case "CAPABILITY":
		fmt.Fprintf(&b, "* CAPABILITY %s\r\n", s.caps)
	case "LIST":
		for _, l := range s.list {
			fmt.Fprintf(&b, "* LIST %s\r\n", l)
		}
	case "STATUS":
		fmt.Fprintf(&b, "* STATUS %s (MESSAGES %d UIDNEXT 1000 UIDVALIDITY 7)\r\n", rest[:strings.LastIndex(rest, " (")], len(s.messages))
	case "EXAMINE":
		fmt.Fprintf(&b, "* %d EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 1000] ok\r\n", len(s.messages))
	case "UID":
		s.fetch(&b, rest)
	}
	return b.String() + "TAG OK done\r\n"
}

// asked lists the messages of a UID FETCH with their numbers.
func (s *script) asked(command string) (out []scripted, body bool) {
	fields := strings.Fields(strings.TrimPrefix(command, "UID "))
	for _, m := range s.messages {
		for _, part := range strings.Split(fields[1], ",") {
			from, to, ranged := strings.Cut(part, ":")
			a, _ := strconv.Atoi(from)
			z := a
			if ranged {
				if z, _ = strconv.Atoi(to); to == "*" {
					z = 1 << 30
				}
			}
			if m.uid >= a && m.uid <= z {
				out = append(out, m)
			}
		}
	}
	return out, strings.Contains(command, "BODY.PEEK[]")
}

func (s *script) fetch(b *strings.Builder, rest string) {
	list, body := s.asked(rest)
	for _, m := range list {
		if body {
			fmt.Fprintf(b, "* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n", m.uid, m.uid, len(m.body), m.body)
			continue
		}
		fmt.Fprintf(b, "* %d FETCH (UID %d FLAGS (%s) INTERNALDATE %s RFC822.SIZE %s)\r\n", m.uid, m.uid, m.flags, m.date, m.size)
	}
}

// isBody tells a FETCH of bodies, and of which messages.
func (s *script) isBody(command string) ([]scripted, bool) {
	if !strings.HasPrefix(command, "UID FETCH") {
		return nil, false
	}
	return s.asked(command)
}

const sourceCaps = "IMAP4rev1 AUTH=PLAIN SASL-IR UIDPLUS"
