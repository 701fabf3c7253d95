package demohost

import (
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"
)

// words are what a service writes about.
type words struct {
	subjects []string
	senders  []string // Name <address>
	greeting string
	lines    []string
	bye      string
}

var frenchWords = words{
	subjects: []string{"Commande de croissants pour samedi", "Facture n° 2026-118", "Pièce montée : devis", "Livraison de farine retardée", "Réunion d'équipe", "Re: Gâteau d'anniversaire", "Congés d'été"},
	senders:  []string{"Moulin de la Vallée <contact@moulin.example>", "Mairie de Saint-Cyr <fetes@mairie.example>", "Léa Durand <lea.durand@mail.example>"},
	greeting: "Bonjour",
	lines: []string{
		"pourriez-vous nous livrer trente baguettes tradition et deux brioches ?", "Vous trouverez ci-joint le détail de la commande.",
		"Le four du fond sera réparé jeudi matin.", "Merci de confirmer avant dix-sept heures.",
	},
	bye: "À bientôt",
}

var englishWords = words{
	subjects: []string{"Your order of rocket skates", "Invoice 4711", "Anvil delivery rescheduled", "Weekly stand-up notes", "Re: tunnel paint, black", "Safety review", "Catalogue 2027, draft 3"},
	senders:  []string{"Warehouse <warehouse@supplier.example>", "Road Runner <beep@desert.example>", "Ada Byron <ada@analytical.example>"},
	greeting: "Hello",
	lines: []string{
		"the shipment left the warehouse this morning and should arrive on Tuesday.", "Please read the instructions before lighting the fuse.",
		"We moved the review to Thursday, same room.", "Let us know whether the colour is right.",
	},
	bye: "Kind regards",
}

var germanWords = words{
	subjects: []string{"Bestellung: zehn Exemplare", "Rechnung Nr. 2026/77", "Lesung im Oktober", "Remittenden", "Re: Schaufenster für die Weihnachtszeit", "Großhändler: neue Öffnungszeiten", "Übergabe der Schlüssel"},
	senders:  []string{"Verlag Sonnenhof <vertrieb@sonnenhof.example>", "Jörg Müller <joerg@leser.example>", "Stadtbücherei <info@buecherei.example>"},
	greeting: "Guten Tag",
	lines: []string{
		"die Bücher liegen ab Mittwoch zur Abholung bereit.", "Könnten Sie uns bitte die Größe des Raumes mitteilen?",
		"Der Vortrag beginnt um halb acht, Einlass ist ab sieben.", "Im Anhang finden Sie die Liste der lieferbaren Titel.",
	},
	bye: "Mit freundlichen Grüßen",
}

// paris is where the demo's mail was received; the offset is written out, so
// that the demo needs no time zone data.
var paris = time.FixedZone("", 3600)

// ordinary is the n-th mail of a service: the same at each start.
func ordinary(s service, p person, n int) Message {
	w := s.words
	date := time.Date(2026, 11, 20, 17, 42, n%60, 0, paris).Add(-time.Duration(n) * 37 * time.Hour)
	from, to := w.senders[n%len(w.senders)], fmt.Sprintf("%s <%s>", mime.QEncoding.Encode("utf-8", p.name), s.address(p))
	folder := "INBOX"
	if n%3 == 2 {
		folder = s.folders[(n/3)%len(s.folders)].Name
	}
	if n%mailsEach == 5 { // one each that the user sent
		folder, from, to = s.folders[0].Name, to, from
	}
	text := fmt.Sprintf("%s,\r\n\r\n%s\r\n%s\r\n\r\n%s\r\n", w.greeting, w.lines[n%len(w.lines)], w.lines[(n+1)%len(w.lines)], w.bye)
	return Message{Folder: folder, Body: compose(s.name, n, from, to, w.subjects[n%len(w.subjects)], date, text), Flags: flagsFor(n), Date: date.Add(3 * time.Second)}
}

func flagsFor(n int) []string {
	var flags []string
	for _, f := range []struct {
		each int
		flag string
	}{{4, ""}, {5, `\Flagged`}, {6, `\Answered`}, {11, "$Forwarded"}, {13, "$Label1"}, {17, "NonJunk"}, {40, `\Deleted`}} {
		if f.flag != "" && n%f.each == 1 {
			flags = append(flags, f.flag)
		}
	}
	if n%4 != 0 {
		flags = append(flags, `\Seen`)
	}
	return flags
}

// compose writes a mail as well-behaved programs do.
func compose(domain string, n int, from, to, subject string, date time.Time, text string) []byte {
	var b strings.Builder
	name, address, _ := strings.Cut(from, " <")
	fmt.Fprintf(&b, "From: %s <%s\r\nTo: %s\r\n", mime.QEncoding.Encode("utf-8", name), address, encodeAddress(to))
	fmt.Fprintf(&b, "Subject: %s\r\nDate: %s\r\n", mime.QEncoding.Encode("utf-8", subject), date.Format(time.RFC1123Z))
	fmt.Fprintf(&b, "Message-ID: <%05d.%d@%s>\r\nMIME-Version: 1.0\r\n", n, date.Unix(), domain)
	if n%2 == 0 {
		b.WriteString("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + text)
		return []byte(b.String())
	}
	boundary := fmt.Sprintf("=_demo_%d", n)
	fmt.Fprintf(&b, "Content-Type: multipart/alternative; boundary=\"%s\"\r\n\r\n", boundary)
	fmt.Fprintf(&b, "--%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%s\r\n", boundary, quoted(text))
	html := "<p>" + strings.ReplaceAll(strings.TrimSpace(text), "\r\n", "<br>\r\n") + "</p>"
	fmt.Fprintf(&b, "--%s\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%s\r\n--%s--\r\n", boundary, quoted(html), boundary)
	return []byte(b.String())
}

func encodeAddress(s string) string {
	name, address, _ := strings.Cut(s, " <")
	return mime.QEncoding.Encode("utf-8", name) + " <" + address
}

func quoted(text string) string {
	var b strings.Builder
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write([]byte(text)) // a strings.Builder takes everything
	_ = w.Close()
	return b.String()
}
