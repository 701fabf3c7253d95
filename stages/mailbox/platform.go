package mailbox

import "strings"

// The kinds of server that have quirks which no capability tells of. What a
// server says of itself goes before the plan's word: the old host name may lead
// to the new platform already.
const (
	kindExchange = "exchange"
	kindZimbra   = "zimbra"
	kindGmail    = "gmail"
)

// kindBefore tells the kind by the greeting and the capabilities; "" where they
// tell nothing.
func (s *session) kindBefore() string {
	greeting := strings.ToLower(s.w.greeting())
	switch {
	case strings.Contains(greeting, "microsoft exchange"), s.has("CLIENTACCESSRULES"):
		return kindExchange
	case strings.Contains(greeting, "zimbra"):
		return kindZimbra
	case strings.Contains(greeting, "gimap"), s.has("X-GM-EXT-1"):
		return kindGmail
	}
	return ""
}

// kindByID reads the answer to ID (RFC 2971): a proxy greets in its own words
// and hands this on.
func kindByID(r *response) string {
	if r.word != "ID" {
		return ""
	}
	for _, t := range r.tokens() {
		for i := 0; i+1 < len(t.list); i += 2 {
			if name := strings.ToLower(t.list[i+1].text); strings.EqualFold(t.list[i].text, "name") {
				switch {
				case strings.Contains(name, "zimbra"):
					return kindZimbra
				case strings.Contains(name, "exchange"):
					return kindExchange
				case strings.Contains(name, "gimap"):
					return kindGmail
				}
			}
		}
	}
	return ""
}

// greeting is what the server said first.
func (w *wire) greeting() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.welcome
}

// strict tells whether the server ends the connection after a few refusals in a
// row, or after the same command too often: Zimbra after 5 and 25, Exchange
// after 10.
func (s *session) strict() bool { return s.kind == kindZimbra || s.kind == kindExchange }

// folds tells whether the server is known to take names that differ only in case
// for one folder.
func (s *session) folds() bool { return s.kind == kindZimbra || s.kind == kindExchange }

// estimates tells whether the server's RFC822.SIZE is an estimate. One was seen
// that told three times the size of every message.
func (s *session) estimates() bool { return s.kind == kindExchange }

// rerenders tells whether the server makes a message anew at each fetch, so that
// two fetches differ in what only holds its parts together.
func (s *session) rerenders() bool { return s.kind == kindExchange }
