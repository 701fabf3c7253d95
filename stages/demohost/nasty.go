package demohost

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// nasty are mails as they lie in real mailboxes and break programs that copy
// them: legal or not, each must arrive byte for byte. None has a NUL.
func nasty(s service, p person) []Message {
	to := s.address(p)
	head := func(subject, id string) string {
		return "From: nasty@demo.example\r\nTo: " + to + "\r\nSubject: " + subject + "\r\nDate: Tue, 10 Nov 2026 10:00:00 +0100\r\nMessage-ID: <" + id + "@demo.example>\r\n"
	}
	at := time.Date(2026, 11, 10, 10, 0, 7, 0, paris)
	last := s.folders[len(s.folders)-1].Name
	mails := []Message{
		{Body: []byte(head("R\xe9sum\xe9 en Latin-1, sans codage", "latin1") + "X-Nom: Fran\xe7ois\r\n\r\n\xc0 bient\xf4t\r\n")},
		{Body: []byte(head("Überraschung: rohes UTF-8 im Kopf ☃", "utf8") + "\r\nText\r\n")},
		{Body: []byte(head("one line of 200,000 characters", "long-line") + "\r\n" + strings.Repeat("0123456789", 20_000) + "\r\n"), Folder: last},
		{Body: []byte("\r\nThere is no header above this line.\r\n")},
		{Body: []byte(head("no body, and no blank line", "no-body"))},
		{Body: []byte(head("no line end at the end", "no-end") + "\r\nthe last line is not ended")},
		{Body: []byte(head("bare line feeds", "bare") + "\r\nfirst\nsecond\rthird\r\n")},
		{Body: []byte(head("a header line without a colon", "no-colon") + "this is no header field\r\n: nor is this\r\n\r\nText\r\n")},
		{Body: []byte("From: nasty@demo.example\r\nSubject: no Message-ID\r\n\r\nText\r\n"), Folder: last},
		{Body: []byte(head("one Message-ID, two mails (1)", "same") + "\r\nFirst text\r\n")},
		{Body: []byte(head("one Message-ID, two mails (2)", "same") + "\r\nSecond text\r\n")},
		{Body: []byte(head("two Message-IDs in one mail", "twice-1") + "Message-ID: <twice-2@demo.example>\r\n\r\nText\r\n")},
		{Body: []byte(head("=?utf-8?q?=F0=9F=8E=82=F0=9F=A5=90_=E2=9D=A4=EF=B8=8F?= 🎉🥖👩‍🍳", "emoji") + "\r\n🎂\r\n")},
		{Body: []byte(head("received in 2001", "y2001") + "\r\nText\r\n"), Date: time.Date(2001, 9, 9, 1, 46, 40, 0, time.UTC)},
		{Body: []byte(head("received in 2040", "y2040") + "\r\nText\r\n"), Date: time.Date(2040, 2, 29, 23, 59, 59, 0, time.FixedZone("", -8*3600-1800))},
		{Body: []byte(head("many keywords", "keywords") + "\r\nText\r\n"), Flags: keywords()},
		{Body: []byte(head("a mail in a mail", "nested") + "Content-Type: message/rfc822\r\n\r\n" + head("inside", "inside") + "\r\nText\r\n")},
		{Body: []byte(head("a boundary that never ends", "boundary") + "Content-Type: multipart/mixed; boundary=never\r\n\r\n--never\r\n\r\nText\r\n")},
	}
	if s.locale == "en" {
		mails = append(mails, Message{Body: attachment(head("5 MB attached", "attachment"), 5_000_000), Flags: []string{`\Seen`}})
	}
	for i := range mails {
		if mails[i].Date.IsZero() {
			mails[i].Date = at.Add(time.Duration(i) * time.Minute)
		}
	}
	return mails
}

// twins are two mails that nothing tells apart, and a third in another folder.
func twins(s service, p person) []Message {
	twin := Message{
		Body: []byte("From: twin@demo.example\r\nTo: " + s.address(p) + "\r\nSubject: twins\r\nMessage-ID: <twin@demo.example>\r\n\r\nWe look the same.\r\n"),
		Date: time.Date(2026, 10, 1, 8, 0, 0, 0, paris), Flags: []string{`\Seen`},
	}
	third := twin
	third.Folder = s.folders[len(s.folders)-1].Name
	return []Message{twin, twin, third}
}

func keywords() []string {
	flags := []string{`\Seen`, `\Flagged`, `\Answered`, `\Draft`, "$MDNSent", "$Forwarded", "$Junk", "$NotJunk"}
	for i := range 24 {
		flags = append(flags, fmt.Sprintf("kw-%02d", i))
	}
	return flags
}

// attachment is a mail of about size bytes that does not compress.
func attachment(head string, size int) []byte {
	raw := make([]byte, 0, size*3/4)
	for n := uint64(0); len(raw) < size*3/4; n++ {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
		raw = append(raw, sum[:]...)
	}
	out := []byte(head + "MIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=\"plans.bin\"\r\nContent-Disposition: attachment; filename=\"plans.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	for line := make([]byte, 76); len(raw) > 0; {
		n := min(57, len(raw))
		base64.StdEncoding.Encode(line, raw[:n])
		out = append(append(out, line[:base64.StdEncoding.EncodedLen(n)]...), "\r\n"...)
		raw = raw[n:]
	}
	return out
}
