package mailer_test

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-ical"
	gomail "github.com/emersion/go-message/mail"
	"pgregory.net/rapid"

	"godwit/stages/mailer"
)

func message() mailer.Message {
	return mailer.Message{
		From: "Migration <migration@host.example>", To: "anna@one.example",
		Subject: "Your mailboxes move", Text: "Hello\n.\nbye\n", HTML: "<p>Hello</p>",
		MessageID: "0123abcd@host.example", Date: time.Date(2026, 11, 25, 8, 0, 0, 0, time.FixedZone("", 3600)), Locale: "fr",
	}
}

func withInvite(m mailer.Message) mailer.Message {
	start := time.Date(2026, 12, 2, 22, 0, 0, 0, time.FixedZone("", 3600))
	m.Invite = &mailer.Invite{UID: "uid-1@host.example", Sequence: 2, Start: start, End: start.Add(7 * time.Hour), Summary: "Transfert de vos boîtes, sauf; la vôtre " + strings.Repeat("é", 80)}
	return m
}

// expected are the headers of every notice: these, and each once.
var expected = []string{"Auto-Submitted", "Content-Language", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Reply-To", "Subject", "To"}

type received struct {
	headers     []string
	header      gomail.Header
	bodies      map[string]string
	calendar    *ical.Calendar
	method      string
	longestLine int
}

func parse(t interface{ Fatal(...any) }, raw string) received {
	r := received{bodies: map[string]string{}}
	for line := range strings.SplitSeq(raw, "\n") {
		r.longestLine = max(r.longestLine, len(strings.TrimSuffix(line, "\r")))
	}
	reader, err := gomail.CreateReader(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	r.header = reader.Header
	for f := reader.Header.Fields(); f.Next(); {
		r.headers = append(r.headers, f.Key())
	}
	slices.Sort(r.headers)
	for {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			return r
		}
		if err != nil {
			t.Fatal(err)
		}
		header := part.Header.(*gomail.InlineHeader)
		kind, params, err := header.ContentType()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(part.Body)
		if err != nil {
			t.Fatal(err)
		}
		r.bodies[kind] = string(body)
		if kind == "text/calendar" {
			r.method = params["method"]
			if r.calendar, err = ical.NewDecoder(strings.NewReader(string(body))).Decode(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestComposedMessage(t *testing.T) {
	sink := startSink(t, sinkOptions{})
	m := withInvite(message())
	m.From = `"Änne, Migration" <migration@host.example>`
	m.Subject = "Vos boîtes aux lettres déménagent : " + strings.Repeat("très long ", 20) + "日本語 🐦"
	m.Text = "Grüße\n.\n..\nFrom here\n" + strings.Repeat("long ", 5000) + "\n"
	m.HTML = "<p>" + strings.Repeat("x", 5000) + "é</p>"
	send(t, sink.sender(), m, mailer.Accepted)
	mails := sink.mails()
	if len(mails) != 1 || !slices.Equal(mails[0].to, []string{"anna@one.example"}) || mails[0].from != "migration@host.example" {
		t.Fatalf("got %+v", mails)
	}
	got := parse(t, mails[0].raw)
	if !slices.Equal(got.headers, expected) {
		t.Errorf("headers %v, want %v", got.headers, expected)
	}
	if got.longestLine > 78 {
		t.Errorf("a line of %d bytes:\n%s", got.longestLine, mails[0].raw)
	}
	if subject, err := got.header.Subject(); err != nil || subject != m.Subject {
		t.Errorf("subject %q, %v", subject, err)
	}
	if from, err := got.header.AddressList("From"); err != nil || len(from) != 1 || from[0].Name != "Änne, Migration" {
		t.Errorf("from %v, %v", from, err)
	}
	if id, err := got.header.MessageID(); err != nil || id != m.MessageID {
		t.Errorf("message id %q, %v", id, err)
	}
	if date, err := got.header.Date(); err != nil || !date.Equal(m.Date) {
		t.Errorf("date %v, %v", date, err)
	}
	if got.header.Get("Auto-Submitted") != "auto-generated" || got.header.Get("Content-Language") != "fr" {
		t.Errorf("headers: %v", got.header)
	}
	if kind, _, _ := got.header.ContentType(); kind != "multipart/alternative" {
		t.Errorf("type %s", kind)
	}
	if kinds := slices.Sorted(maps.Keys(got.bodies)); !slices.Equal(kinds, []string{"text/calendar", "text/html", "text/plain"}) {
		t.Errorf("parts %v", kinds)
	}
	if strings.ReplaceAll(got.bodies["text/plain"], "\r\n", "\n") != m.Text || got.bodies["text/html"] != m.HTML {
		t.Errorf("the text arrived changed: %q", got.bodies["text/plain"][:40])
	}
}

func TestInvite(t *testing.T) {
	tests := map[string]struct {
		cancelled      bool
		method, status string
	}{
		"an invite is a request":     {false, "REQUEST", "CONFIRMED"},
		"called off, it is a cancel": {true, "CANCEL", "CANCELLED"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sink := startSink(t, sinkOptions{})
			m := withInvite(message())
			m.Invite.Cancelled = tt.cancelled
			send(t, sink.sender(), m, mailer.Accepted)
			got := parse(t, sink.mails()[0].raw)
			event := got.calendar.Events()[0]
			method, _ := got.calendar.Props.Text("METHOD")
			status, _ := event.Status()
			if got.method != tt.method || method != tt.method || string(status) != tt.status {
				t.Errorf("method %s %s, status %s", got.method, method, status)
			}
			start, err := event.DateTimeStart(nil)
			if err != nil || !start.Equal(m.Invite.Start) || event.Props.Get("SEQUENCE").Value != "2" {
				t.Errorf("start %v, %v; sequence %v", start, err, event.Props.Get("SEQUENCE"))
			}
			if summary, _ := event.Props.Text("SUMMARY"); summary != m.Invite.Summary {
				t.Errorf("summary %q", summary)
			}
			if event.Props.Get("ORGANIZER").Value != "mailto:migration@host.example" || event.Props.Get("ATTENDEE").Value != "mailto:anna@one.example" {
				t.Errorf("organizer or attendee: %v", event.Props)
			}
			for line := range strings.SplitSeq(got.bodies["text/calendar"], "\r\n") {
				if len(line) > 75 {
					t.Errorf("a line of %d octets (RFC 5545, 3.1): %q", len(line), line)
				}
			}
		})
	}
}

func TestAMessageThatCouldBecomeTwoIsRefused(t *testing.T) {
	tests := map[string]struct {
		change func(*mailer.Message)
		want   string
	}{
		"line feed in the subject":        {func(m *mailer.Message) { m.Subject = "a\nBcc: eve@evil.example" }, "subject"},
		"carriage return in the subject":  {func(m *mailer.Message) { m.Subject = "a\rBcc: eve@evil.example" }, "line break"},
		"NUL in the subject":              {func(m *mailer.Message) { m.Subject = "a\x00" }, "control"},
		"C1 control in the subject":       {func(m *mailer.Message) { m.Subject = "a\u0085b" }, "control"},
		"line separator in the subject":   {func(m *mailer.Message) { m.Subject = "a\u2028b" }, "control"},
		"encoded line break":              {func(m *mailer.Message) { m.Subject = "=?utf-8?q?a=0D=0ABcc:_eve?=" }, "encoded word"},
		"not UTF-8":                       {func(m *mailer.Message) { m.Subject = "a\xff" }, "UTF-8"},
		"no subject":                      {func(m *mailer.Message) { m.Subject = "  " }, "no subject"},
		"line break in the recipient":     {func(m *mailer.Message) { m.To = "anna@one.example\r\nRCPT TO:<eve@evil.example>" }, "line break"},
		"two recipients":                  {func(m *mailer.Message) { m.To = "anna@one.example, eve@evil.example" }, "one bare address"},
		"two recipients with a semicolon": {func(m *mailer.Message) { m.To = "anna@one.example;eve@evil.example" }, "one bare address"},
		"two recipients by a space":       {func(m *mailer.Message) { m.To = "anna@one.example eve@evil.example" }, "one bare address"},
		"a quoted local part":             {func(m *mailer.Message) { m.To = `"a> RCPT TO:<eve"@one.example` }, "one"},
		"a recipient with a name":         {func(m *mailer.Message) { m.To = "Anna <anna@one.example>" }, "one bare address"},
		"a group":                         {func(m *mailer.Message) { m.To = "all: anna@one.example;" }, "one bare address"},
		"no at sign":                      {func(m *mailer.Message) { m.To = "anna" }, "right would be name@example.org"},
		"an endless recipient":            {func(m *mailer.Message) { m.To = strings.Repeat("a", 250) + "@one.example" }, "longer than 254"},
		"two senders":                     {func(m *mailer.Message) { m.From = "a@host.example, b@host.example" }, "not one address"},
		"line break in the sender":        {func(m *mailer.Message) { m.From = "A\r\nBcc: x <a@host.example>" }, "line break"},
		"encoded sender":                  {func(m *mailer.Message) { m.From = "=?utf-8?q?a=0D=0A?= <a@host.example>" }, "encoded word"},
		"brackets in the message id":      {func(m *mailer.Message) { m.MessageID = "a@b>\r\nX: y" }, "message id"},
		"no message id":                   {func(m *mailer.Message) { m.MessageID = "" }, "message id"},
		"no date":                         {func(m *mailer.Message) { m.Date = time.Time{} }, "no date"},
		"line break in the locale":        {func(m *mailer.Message) { m.Locale = "fr\r\nX: y" }, "locale"},
		"line break in the summary":       {func(m *mailer.Message) { m.Invite.Summary = "a\r\nATTENDEE:mailto:eve@evil.example" }, "summary"},
		"line break in the uid":           {func(m *mailer.Message) { m.Invite.UID = "a\nb" }, "uid"},
		"an invite that ends first":       {func(m *mailer.Message) { m.Invite.End = m.Invite.Start }, "ends before"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sink := startSink(t, sinkOptions{})
			m := withInvite(message())
			tt.change(&m)
			got := send(t, sink.sender(), m, mailer.Refused)
			if got.At != mailer.Compose || !strings.Contains(got.Text, tt.want) || strings.ContainsAny(got.Text, "\r\n\x00") {
				t.Errorf("got %+v, want %q", got, tt.want)
			}
			if sink.connections() != 0 {
				t.Error("the relay was called")
			}
		})
	}
}

func TestInjectionNeverAddsAHeaderOrARecipient(t *testing.T) {
	sink := startSink(t, sinkOptions{})
	sender := sink.sender()
	hostile := rapid.StringOfN(rapid.OneOf(rapid.RuneFrom([]rune("\r\n\t \x00<>,;:@\"\\()=?_aé日\u2028\u0085.")), rapid.Rune()), 0, 120, -1)
	odd := rapid.StringOfN(rapid.RuneFrom([]rune(" <>,;:@\"\\()=?_aé日😀'.")), 0, 120, -1)
	accepted := 0
	rapid.Check(t, func(r *rapid.T) {
		hostile := hostile
		if rapid.Bool().Draw(r, "without controls") {
			hostile = odd
		}
		m := withInvite(message())
		m.Subject = hostile.Draw(r, "subject")
		m.Text = hostile.Draw(r, "text")
		m.Invite.Summary = hostile.Draw(r, "summary")
		if rapid.Bool().Draw(r, "hostile address") {
			m.To = hostile.Draw(r, "to") + "@one.example"
		}
		if rapid.Bool().Draw(r, "hostile sender") {
			m.From = hostile.Draw(r, "from") + " <migration@host.example>"
		}
		before := len(sink.mails())
		receipt := sender.Send(t.Context(), m)
		mails := sink.mails()[before:]
		switch {
		case receipt.Verdict == mailer.Refused && len(mails) == 0:
			return
		case receipt.Verdict != mailer.Accepted || len(mails) != 1:
			r.Fatalf("%+v, %d mails", receipt, len(mails))
		}
		got := parse(r, mails[0].raw)
		if !slices.Equal(got.headers, expected) || len(mails[0].to) != 1 {
			r.Fatalf("headers %v, recipients %q\n%s", got.headers, mails[0].to, mails[0].raw)
		}
		if to, err := got.header.AddressList("To"); err != nil || len(to) != 1 || to[0].Address != mails[0].to[0] {
			r.Fatalf("to %v, %v", to, err)
		}
		if len(got.calendar.Events()) != 1 || len(got.calendar.Events()[0].Props.Values("ATTENDEE")) != 1 {
			r.Fatalf("calendar %v", got.calendar)
		}
		accepted++
	})
	if accepted == 0 {
		t.Error("nothing came through, so nothing was proved")
	}
}

func TestAddressesBeyondASCII(t *testing.T) {
	tests := map[string]struct {
		to       string
		smtputf8 bool
		verdict  mailer.Verdict
		want     string
	}{
		"a domain is written in ASCII":         {"anna@bücher.example", false, mailer.Accepted, "anna@xn--bcher-kva.example"},
		"a local part needs SMTPUTF8":          {"änne@one.example", true, mailer.Accepted, "änne@one.example"},
		"and is refused where it is not there": {"änne@one.example", false, mailer.Refused, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sink := startSink(t, sinkOptions{smtputf8: tt.smtputf8})
			m := message()
			m.To = tt.to
			send(t, sink.sender(), m, tt.verdict)
			if mails := sink.mails(); tt.want != "" && (len(mails) != 1 || mails[0].to[0] != tt.want) {
				t.Errorf("got %+v", mails)
			} else if tt.want == "" && len(mails) != 0 {
				t.Errorf("was sent: %+v", mails)
			}
		})
	}
}
