package demohost

import (
	"crypto/rand"
	"fmt"
)

// service is a customer of the demo.
type service struct {
	name, contact, locale string
	batch, passwords      string
	customer              string // the hoster's reference, x_customer
	people                []person
	folders               []Folder
	words                 words
}

// person has an account. Most are migrated.
type person struct {
	local, name    string
	action, reason string
}

func (s service) address(p person) string { return p.local + "@" + s.name }

func use(name, attr string) Folder { return Folder{Name: name, Subscribed: true, Use: []string{attr}} }
func sub(name string) Folder       { return Folder{Name: name, Subscribed: true} }
func plain(name string) Folder     { return Folder{Name: name} }

// services are the fourteen accounts of the demo.
var services = []service{
	{
		name: "boulangerie-martin.example", contact: "martin@contact.example", locale: "fr",
		batch: "w49-a", customer: "BM-10417",
		people: []person{
			{local: "camille", name: "Camille Martin"},
			{local: "hugo", name: "Hugo Martin"},
			{local: "atelier", name: "L'atelier"},
			{local: "commandes", name: "Commandes"},
			{local: "stage", name: "Noé Lefèvre", action: "skip", reason: "cancelled"},
		},
		folders: []Folder{
			use("Éléments envoyés", `\Sent`), use("Brouillons", `\Drafts`), use("Corbeille", `\Trash`), use("Courrier indésirable", `\Junk`),
			sub("Clients/Été 2024/Mariages"), sub("Fournisseurs/Farine & Levure"), plain("Comptabilité/100 % payé"),
			sub("Recettes 🥖"), sub(`Commandes "spéciales"`),
		},
		words: frenchWords,
	},
	{
		name: "acme.example", contact: "owner@contact.example", locale: "en",
		batch: "w49-a", customer: "AC-20931",
		people: []person{
			{local: "wile", name: "Wile E. Coyote"},
			{local: "office", name: "Front Office"},
			{local: "sales", name: "Sales"},
			{local: "lab", name: "Research & Development"},
			{local: "ceo", name: "Marvin A.", action: "skip", reason: "takes another offer (E-mail Pro)"},
		},
		folders: []Folder{
			use("Sent Items", `\Sent`), use("Drafts", `\Drafts`), use("Deleted Items", `\Trash`), use("Junk E-mail", `\Junk`),
			sub("Projects/R&D/2025/Q3"), sub("Projects/Road Runner 🚀"), sub("  Urgent"), plain("50% off"),
			sub("לקוחות/חשבוניות"), sub("العملاء"), plain("Archive/2019"),
		},
		words: englishWords,
	},
	{
		name: "buchhandlung-weber.example", contact: "weber@contact.example", locale: "de",
		batch: "w49-b", passwords: "keep", customer: "BW-30008",
		people: []person{
			{local: "anna", name: "Anna Weber"},
			{local: "juergen", name: "Jürgen Weber"},
			{local: "bestellung", name: "Bestellungen"},
			{local: "lesungen", name: "Lesungen"},
		},
		folders: []Folder{
			use("Gesendete Elemente", `\Sent`), use("Entwürfe", `\Drafts`), use("Gelöschte Elemente", `\Trash`), use("Junk-E-Mail", `\Junk`),
			sub("Bestellungen/Großhändler"), sub("Büro/Ämter/Übermittlung"), sub("Verlage & Autoren"),
			sub(`Lesungen "Herbst"`), plain("Größe 100%"),
		},
		words: germanWords,
	},
}

// mailsEach is how many ordinary mails an account has.
const mailsEach = 25

// Fill makes the demo's accounts at the source, with folders and about four
// hundred mails, ordinary ones and such as break other tools.
func (h *Host) Fill() error {
	for _, s := range services {
		for i, p := range s.people {
			if err := h.fillAccount(s, p, i); err != nil {
				return fmt.Errorf("%s: %w", s.address(p), err)
			}
		}
	}
	return nil
}

func (h *Host) fillAccount(s service, p person, nth int) error {
	address := s.address(p)
	h.AddAccount(Source, address, "demo-"+rand.Text())
	for _, f := range s.folders {
		if err := h.PutFolder(Source, address, f); err != nil {
			return err
		}
	}
	var mails []Message
	for i := range mailsEach {
		mails = append(mails, ordinary(s, p, nth*mailsEach+i))
	}
	switch {
	case nth == 0:
		mails = append(mails, nasty(s, p)...)
	case nth == 1:
		mails = append(mails, twins(s, p)...)
	}
	for _, m := range mails {
		if err := h.Put(Source, address, m); err != nil {
			return err
		}
	}
	return nil
}
