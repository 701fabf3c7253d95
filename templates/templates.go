// Package templates holds what people read: the notices, per language, and the
// plain sentences that say why something did not happen.
//
// # Files
//
// A notice is two files, NOTICE.LOCALE.txt and NOTICE.LOCALE.html: the same
// letter as plain text and as HTML. NOTICE is one of Names, LOCALE a language
// such as fr or fr-ca. The first line of the text is "Subject: …"; its long
// lines are broken when it is sent. The HTML is a body only; layout.html goes
// around it. The wording that notices share stands in parts.LOCALE.txt, as
// {{define "password"}}…{{end}}, and is used in both by {{say "password" .}}.
//
// A file of the same name in the hoster's folder replaces the built-in one; of
// a parts file, only the sentences it defines.
// Where only the text is replaced, the HTML is made from it, so that both say
// the same. New languages can be added: all notices that are to be sent in it,
// else those missing are sent in English.
//
// # Fields
//
// Templates are Go templates (text/template and html/template) over Notice:
//
//	.Plan          the plan's name
//	.Services      list of .Name, .Accounts (how many mailboxes), .Target and
//	               .Skipped (how many of the service's mailboxes stay behind)
//	.ToUser        true: the reader is the user of the mailbox .Account
//	.Account       the reader's own mailbox, when .ToUser
//	.Name          the reader's name, "" if unknown
//	.Night         the date that the night begins on
//	.From .Until   the window in which it happens
//	.Interruption  the longest that one mailbox is out of reach
//	.Zone          the time zone of all of these
//	.Temporary     true: passwords change
//	.Keeping       how many mailboxes keep theirs all the same
//	.Deliver       before or after: when the list of passwords is handed over
//	.Webmail       its address
//	.WebmailFirst  true: other programs are refused until the user was there
//	.Residency     where the data stays, region codes such as FR
//	.Offers        true: another offer can be taken instead
//	.Links         .guide .faq .offers .cancel, "" where the plan gives none
//	.Contact       the address for questions
//	.Changes       list of .What, .Was, .Is, in the notice "changed": What is one
//	               of date, window, zone, interruption, passwords, target,
//	               contact, residency; say "change" writes one out
//	.Reason        why, in deferred, cancelled and rolled-back
//	.Losses        .Kept (messages), .Converted, .Person and .Lost (things), in
//	               "announce"; nothing if nobody has looked yet
//	.NotFrozen     true: mail can still reach the old side and follows later
//
// In "deferred" the dates are those of the next try, zero if it is not known.
//
// # Functions
//
// Beside Go's own (if, range, with, len, eq, and, printf …):
//
//	date .From          Wednesday 2 December 2026, in the reader's language
//	clock .From         22:00, 22 h, 22:00 Uhr
//	sameday .From .Until
//	duration .Interruption
//	countries .Residency  the names in the reader's language
//	value .What .Is       one side of a change in the reader's language
//	say "NAME" .        a sentence of parts.LOCALE.txt; not inside of one
package templates

import (
	"fmt"
	"html/template"
	"io/fs"
	"strings"
	"time"
)

// Names are the notices there are.
var Names = []string{"announce", "remind", "changed", "deferred", "cancelled", "done", "rolled-back"}

// Locales are the built-in languages; others fall back to "en".
var Locales = []string{"en", "fr", "de", "es", "it", "pt", "nl", "pl"}

// Notice is all that a template may use. It holds no secret and has no methods
// beyond those of its values.
type Notice struct {
	Plan         string
	Services     []Service     // one message per contact may cover several
	ToUser       bool          // the reader is the user of one account, not the contact
	Account      string        // the reader's own, when ToUser
	Name         string        // the reader's, "" if unknown
	Night        time.Time     // date the night begins on, in the plan's zone; deferred: of the next try, zero if not known
	From, Until  time.Time     // the window, in the plan's zone; deferred: of the next try
	Interruption time.Duration // longest, per mailbox
	Zone         string
	Temporary    bool   // passwords change
	Keeping      int    // mailboxes whose password stays, where others' change; 0 for a user
	Deliver      string // before | after: when the list is handed over
	Webmail      string
	WebmailFirst bool              // IMAP is refused until the user has been to webmail
	Residency    []string          // region codes: where the data stays
	Offers       bool              // another offer can be taken instead
	Links        map[string]string // guide, faq, offers, cancel
	Contact      string            // whom to ask: the sender's address
	Changes      []Change          // changed: what differs from what was announced
	Reason       string            // deferred, cancelled, rolled-back: one of the plain sentences, already in the reader's language
	Losses       *Losses           // announce: what the checks foretell, nil if they did not run
	NotFrozen    bool              // the source has no freeze: stragglers follow later
}

// Service is one customer's part, as a notice shows it.
type Service struct {
	Name     string
	Accounts int
	Target   string
	Skipped  int // mailboxes of the service that stay behind
}

// Losses counts messages for what is kept, and things for the rest: those that
// arrive in another form, that a person looks into, and that are not carried.
type Losses struct{ Kept, Converted, Person, Lost int }

// Change is one thing that differs from what was announced; Was is "-" where
// nothing was.
type Change struct{ What, Was, Is string }

// Rendered is a notice ready to send.
type Rendered struct {
	Subject string
	Text    string
	HTML    string
	Locale  string // the language really used
}

// Set renders notices: the built-in ones, replaced by name by the hoster's. It
// may be used from several goroutines.
type Set struct {
	letters map[string]*letter // by NOTICE.LOCALE, locale in lower case
	layout  *template.Template
}

// Load reads overrides (nil for none) and parses every template. A template
// that uses an unknown field is an error naming file and line. Several wrong
// files are one error with a line each.
func Load(overrides fs.FS) (*Set, error) {
	sources, err := read(overrides)
	if err != nil {
		return nil, err
	}
	set, err := parse(sources)
	if err != nil {
		return nil, err
	}
	return set, set.check()
}

// Render fills notice (one of Names) in locale, or the nearest that exists:
// fr-CA falls back to fr, an unknown language to en.
func (s *Set) Render(notice, locale string, data Notice) (Rendered, error) {
	if data.Night.IsZero() && (notice == "announce" || notice == "remind" || notice == "changed") {
		return Rendered{}, fmt.Errorf("notice %s has no date", notice)
	}
	for _, candidate := range nearest(locale) {
		if l := s.letters[notice+"."+candidate]; l != nil {
			return l.render(s.layout, data)
		}
	}
	return Rendered{}, unknownNotice(notice)
}

// nearest lists what may stand in for locale, best first.
func nearest(locale string) []string {
	locale = strings.ToLower(strings.ReplaceAll(locale, "_", "-"))
	var candidates []string
	for locale != "" {
		candidates = append(candidates, locale)
		cut := strings.LastIndexByte(locale, '-')
		locale = locale[:max(cut, 0)]
	}
	return append(candidates, "en")
}
