package demohost

import (
	"bytes"
	"net/mail"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
)

func (s *session) Search(kind imapserver.NumKind, criteria *imap.SearchCriteria, options *imap.SearchOptions) (*imap.SearchData, error) {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	var (
		data imap.SearchData
		seqs imap.SeqSet
		uids imap.UIDSet
	)
	for i, m := range s.folder.messages {
		seq := s.tracker.EncodeSeqNum(uint32(i) + 1)
		if seq == 0 || !s.matches(seq, m, criteria) {
			continue
		}
		n := seq
		if kind == imapserver.NumKindUID {
			n = uint32(m.uid)
		}
		seqs.AddNum(seq)
		uids.AddNum(m.uid)
		if data.Count == 0 {
			data.Min = n
		}
		data.Max = n
		data.Count++
	}
	data.All = seqs
	if kind == imapserver.NumKindUID {
		data.All = uids
	}
	if options.ReturnSave {
		s.saved = uids
	}
	return &data, nil
}

func (s *session) matches(seq uint32, m *message, c *imap.SearchCriteria) bool {
	for _, set := range c.SeqNum {
		if imap.IsSearchRes(set) && !s.saved.Contains(m.uid) || !imap.IsSearchRes(set) && !s.numbers(set)(seq, m.uid) {
			return false
		}
	}
	for _, set := range c.UID {
		if imap.IsSearchRes(set) && !s.saved.Contains(m.uid) || !imap.IsSearchRes(set) && !s.numbers(set)(seq, m.uid) {
			return false
		}
	}
	for _, flag := range c.Flag {
		if !hasFlag(m.flags, flag) {
			return false
		}
	}
	for _, flag := range c.NotFlag {
		if hasFlag(m.flags, flag) {
			return false
		}
	}
	if !between(m.date, c.Since, c.Before) || c.Larger != 0 && int64(len(m.body)) <= c.Larger || c.Smaller != 0 && int64(len(m.body)) >= c.Smaller {
		return false
	}
	if !m.says(c) {
		return false
	}
	for i := range c.Not {
		if s.matches(seq, m, &c.Not[i]) {
			return false
		}
	}
	for i := range c.Or {
		if !s.matches(seq, m, &c.Or[i][0]) && !s.matches(seq, m, &c.Or[i][1]) {
			return false
		}
	}
	return true
}

// says compares what stands in the message: case does not matter, encoded words
// are not decoded.
func (m *message) says(c *imap.SearchCriteria) bool {
	header, text := split(m.body)
	for _, field := range c.Header {
		lines := fields(header, []string{field.Key}, true)
		if len(lines) <= 2 || !contains(lines[len(field.Key)+1:], field.Value) {
			return false
		}
	}
	for _, word := range c.Text {
		if !contains(m.body, word) {
			return false
		}
	}
	for _, word := range c.Body {
		if !contains(text, word) {
			return false
		}
	}
	if c.SentSince.IsZero() && c.SentBefore.IsZero() {
		return true
	}
	_, value, _ := strings.Cut(string(fields(header, []string{"Date"}, true)), ":")
	sent, err := mail.ParseDate(strings.TrimSpace(value))
	return err == nil && between(sent, c.SentSince, c.SentBefore)
}

func contains(text []byte, word string) bool {
	return bytes.Contains(bytes.ToLower(text), bytes.ToLower([]byte(word)))
}

// between compares the day alone (RFC 9051, 6.4.4).
func between(t, since, before time.Time) bool {
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	return (since.IsZero() || !day.Before(since)) && (before.IsZero() || day.Before(before))
}
