package imaptest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Exchange is what its IMAP server offers, as far as this one can.
var Exchange = []string{"IMAP4", "IMAP4rev1", "AUTH=PLAIN", "SASL-IR", "UIDPLUS", "MOVE", "ID", "UNSELECT", "CHILDREN", "NAMESPACE", "LITERAL+"}

// ExchangeGreeting is how it greets.
const ExchangeGreeting = "* OK The Microsoft Exchange IMAP4 service is ready. [TABPADIAUAAyADYANQ==]"

// Notice is what Exchange gives instead of a message that it cannot convert.
const Notice = "MIME-Version: 1.0\r\nFrom: Microsoft Exchange Server\r\nSubject: Retrieval using the IMAP4 protocol failed for the following\r\n message: %d\r\n\r\nThe server couldn't retrieve the following message:\r\n"

// ExchangeOwn are its folders that are not for mail, by what a mailbox of the
// language has beside them.
var ExchangeOwn = []struct {
	Mail string
	Own  []string
}{
	{"Sent Items", []string{"Calendar", "Contacts", "Contacts/Friends", "Tasks", "Notes", "Journal", "Outbox", "Sync Issues", "Sync Issues/Conflicts"}},
	{"Gesendete Elemente", []string{"Kalender", "Kontakte", "Aufgaben", "Notizen", "Journal", "Postausgang", "Synchronisierungsprobleme"}},
	{"&AMk-l&AOk-ments envoy&AOk-s", []string{"Calendrier", "Contacts", "T&AOI-ches", "Notes", "Journal", "Bo&AO4-te d'envoi"}},
	{"Elementos enviados", []string{"Calendario", "Contactos", "Tareas", "Notas", "Diario", "Bandeja de salida"}}, //nolint:misspell // Spanish
	{"Posta inviata", []string{"Calendario", "Contatti", "Attivit&AOA-", "Note", "Diario", "Posta in uscita"}},
	{"Itens Enviados", []string{"Calend&AOE-rio", "Contatos", "Tarefas", "Caixa de Sa&AO0-da"}},
	{"Verzonden items", []string{"Agenda", "Contactpersonen", "Taken", "Notities", "Logboek", "Postvak UIT"}},
	{"Elementy wys&AUI-ane", []string{"Kalendarz", "Kontakty", "Zadania", "Notatki", "Dziennik", "Skrzynka nadawcza"}},
}

// ExchangeQuirks are those of a source.
func ExchangeQuirks() []Quirk {
	day := time.Date(2023, 6, 7, 8, 9, 10, 0, time.UTC)
	letter := func(n int, more string) Message {
		return Message{Body: []byte(fmt.Sprintf("Message-ID: <e%d@old.example>\r\nSubject: e\r\n\r\nexchange %d %s\r\n", n, n, more)), Date: day}
	}
	list := []Quirk{
		{Name: "sizes three times too large", Faults: []Fault{sizes(3, 1)}},
		{Name: "sizes a third", Faults: []Fault{sizes(1, 3)}, Source: func(a *Account) {
			a.Add("INBOX", letter(1, strings.Repeat("9876543210\r\n", 450000))) // 5.4 MB, told as 1.8
		}},
		{Name: "sizes of giants", Faults: []Fault{{On: "META", After: replace(`RFC822.SIZE \d+`, "RFC822.SIZE 99000000")}}},
		{Name: "known by the plan", Greets: "* OK ready", Caps: func(caps []string) []string { return lacking(caps, "ID") }, Forms: Forms{Platform: "exchange"}, Faults: []Fault{sizes(3, 1)}},
		{Name: "notices instead of messages", Faults: []Fault{notices(-1)}},
		{Name: "notices instead of messages, once", Faults: []Fault{notices(3)}},
		{Name: "notices instead of large messages", Faults: []Fault{notices(-1), {On: "META", After: replace(`RFC822.SIZE \d+`, "RFC822.SIZE 99000000")}}},
		{
			Name: "signs in as DOMAIN/login/alias", Forms: Forms{Auth: "master", Login: `CORP\migrator`, MasterFormat: `{login}\{account}`},
			Holds: func(a *Account) { alias(a, `CORP\migrator\anna`) },
		},
		{
			Name: "signs in by LOGIN", Forms: Forms{Auth: "master", Login: `CORP\migrator`, MasterFormat: `{login}\{account}`},
			Holds: func(a *Account) { alias(a, `CORP\migrator\anna`) }, Caps: func(caps []string) []string { return lacking(lacking(caps, "AUTH=PLAIN"), "SASL-IR") },
		},
		{Name: "loses its backend", Faults: []Fault{
			{On: "EXAMINE", From: 1, Once: 1, Before: refusing("BAD", "User is authenticated but not connected.")},
			{On: "BODY", From: 1, Once: 1, Before: refusing("BAD", "User is authenticated but not connected.")},
		}},
		{Name: "throttles", Faults: throttles(15 * time.Millisecond)},
		{Name: "renders anew", Faults: []Fault{renders()}, Source: func(a *Account) {
			for i := range 4 {
				m := letter(20+i, "--render-0000--")
				a.Add("INBOX", m)
			}
		}},
		{Name: "a folder that hangs up", Source: func(a *Account) { a.Add("Old stuff ", letter(30, "")) }, Faults: []Fault{
			{On: "EXAMINE", Before: func(m *Moment) {
				if m.text(0) == "Old stuff " {
					m.HangUp(0)
				}
			}},
			{On: "STATUS", Before: func(m *Moment) {
				if m.text(0) == "Old stuff " {
					m.Refuse("NO", "STATUS failed")
				}
			}},
		}},
		{Name: "names as literals", Source: func(a *Account) { a.Add(`in\out`, letter(31, "")) }, Faults: []Fault{{On: "LIST", After: func(m *Moment) {
			for i, l := range m.Untagged {
				m.Untagged[i] = strings.Replace(l, `"in\\out"`, "{6}\r\nin\\out", 1)
			}
		}}}},
		{Name: "ten errors", Faults: []Fault{fiveErrors()}},
	}
	for i, l := range ExchangeOwn {
		list = append(list, Quirk{Name: "folders not for mail " + strconv.Itoa(i), Faults: []Fault{notForMail(l.Own)}, Source: func(a *Account) {
			a.Add(l.Mail, letter(40, l.Mail))
			for _, name := range l.Own {
				a.Add(name, Message{Body: []byte(fmt.Sprintf(Notice, 1)), Date: day})
			}
		}})
	}
	return list
}

// alias has the account under another name, too.
func alias(a *Account, name string) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.s.accounts[name] = a
	delete(a.s.accounts, a.Name)
}

var told = regexp.MustCompile(`RFC822\.SIZE (\d+)`)

func sizes(times, over int) Fault {
	return Fault{On: "META", After: func(m *Moment) {
		for i, l := range m.Untagged {
			m.Untagged[i] = told.ReplaceAllStringFunc(l, func(s string) string {
				n, _ := strconv.Atoi(told.FindStringSubmatch(s)[1])
				return fmt.Sprintf("RFC822.SIZE %d", n*times/over+1)
			})
		}
	}}
}

// notices gives a notice instead of the victim of INBOX, so often; -1: always.
func notices(times int) Fault {
	return Fault{On: "BODY", After: func(m *Moment) {
		if m.session.folder == nil || m.session.folder.name != "INBOX" || strings.Contains(m.Line, "[]<") {
			return
		}
		each(func(uid int, line string) string {
			if uid != Victim || times == 0 {
				return line
			}
			times--
			text := fmt.Sprintf(Notice, uid)
			return fmt.Sprintf("* 5 FETCH (UID %d BODY[] {%d}\r\n%s)\r\n", uid, len(text), text)
		})(m)
	}}
}

// throttles refuses each pass once, four of them, and complains of the one that
// comes again too early: that asks for the folders, as each does, once. A
// connection of the pass before may still ask for something when its client has
// long left; that is let pass.
func throttles(wait time.Duration) []Fault {
	var until time.Time
	newest, told := 0, false // the connection that asked for the folders last; its pass was refused
	refusing := func(times int) func(*Moment) {
		return func(m *Moment) {
			if times == 0 || told || m.Session < newest {
				return
			}
			times, told, until = times-1, true, time.Now().Add(wait)
			m.Refuse("BAD", fmt.Sprintf("Request is throttled. Suggested Backoff Time: %d milliseconds", wait.Milliseconds()))
		}
	}
	return []Fault{
		{On: "LIST", Before: func(m *Moment) {
			if time.Now().Before(until) {
				m.Server.complaints = append(m.Server.complaints, "came again before the time it was asked for")
			}
			newest, told = m.Session, false
		}},
		{On: "LIST", From: 2, Before: refusing(1)},
		{On: "META", Before: refusing(1)},
		{On: "BODY", Before: refusing(2)},
	}
}

// renders makes messages anew at each fetch.
func renders() Fault {
	n := 0
	return Fault{On: "BODY", After: func(m *Moment) {
		for i, l := range m.Untagged {
			n++
			m.Untagged[i] = strings.ReplaceAll(l, "render-0000", fmt.Sprintf("render-%04d", n%10000))
		}
	}}
}

// Rendered is a body without what differs from fetch to fetch.
func Rendered(body []byte) []byte { return rendered.ReplaceAll(body, []byte("render-0000")) }

var rendered = regexp.MustCompile(`render-\d{4}`)

// notForMail ends the session of who opens such a folder, and complains.
func notForMail(own []string) Fault {
	return Fault{Before: func(m *Moment) {
		for _, name := range own {
			if (m.Verb == "EXAMINE" || m.Verb == "SELECT") && m.text(0) == name {
				m.Server.complaints = append(m.Server.complaints, "opened "+name)
				m.HangUp(0)
			}
		}
	}}
}
