// Package losses is the loss ledger: it sorts what a move will keep, convert,
// leave to a person and lose, before anybody is told of the move.
//
// It foretells, and stands by it: nothing is called lost that arrives. What
// only the copy can find out (a message that the target alters, one that the
// source does not give) stands in skipped.csv afterwards, not here.
package losses

import (
	"time"

	"godwit/stages/mailbox"
	"godwit/stages/platform"
)

// Drawer says what becomes of an item.
type Drawer string

// The drawers. Converted arrives, in another form; Person holds the account
// until somebody has looked.
const (
	Kept      Drawer = "kept"
	Converted Drawer = "converted"
	Person    Drawer = "needs a person"
	Lost      Drawer = "lost"
)

// Item is one line of the loss ledger. Reason is the code of a plain sentence;
// Detail is for the operator.
type Item struct {
	Drawer    Drawer    `json:"drawer"`
	Kind      string    `json:"kind"` // messages, message, folders, folder, label, setting, quota, or what IMAP cannot carry
	Folder    string    `json:"folder,omitempty"`
	UID       uint32    `json:"uid,omitempty"`
	MessageID string    `json:"message_id,omitempty"`
	Date      time.Time `json:"date,omitzero"`
	Count     int       `json:"count,omitempty"`
	Bytes     int64     `json:"bytes,omitempty"`
	Reason    string    `json:"reason"`
	Detail    string    `json:"detail,omitempty"`
}

// drawers sorts what a survey finds.
var drawers = map[mailbox.Reason]Drawer{
	mailbox.FolderRenamed:  Converted,
	mailbox.KeywordDropped: Converted,
	mailbox.Altered:        Converted,
}

// Of sorts what was found in a mailbox and at the target's admin side. Everything
// that is in no other drawer is kept, and counted so.
func Of(survey mailbox.Survey, settings []platform.Finding) []Item {
	var list []Item
	kept, bytes, folders := survey.Messages, survey.Bytes, survey.Folders
	for _, f := range survey.Findings {
		i := Item{
			Drawer: Lost, Kind: "message", Folder: f.Folder, UID: f.UID, MessageID: f.MessageID, Date: f.Date,
			Count: 1, Bytes: f.Bytes, Reason: string(f.Reason), Detail: f.Detail,
		}
		if d, ok := drawers[f.Reason]; ok {
			i.Drawer = d
		}
		switch {
		case f.UID != 0 && i.Drawer == Lost:
			kept, bytes = kept-1, bytes-f.Bytes
		case f.Reason == mailbox.KeywordDropped:
			i.Kind = "label"
		case f.UID == 0:
			i.Kind = "folder"
		}
		list = append(list, i)
	}
	if q := survey.Quota; q > 0 && q < survey.Bytes+survey.Used {
		list = append(list, Item{Drawer: Person, Kind: "quota", Bytes: survey.Bytes + survey.Used - q, Reason: "over-quota"})
	}
	for _, f := range settings {
		d := Converted
		if f.Blocks {
			d = Person
		}
		list = append(list, Item{Drawer: d, Kind: "setting", Reason: "target-settings", Detail: f.Text})
	}
	return append([]Item{
		{Drawer: Kept, Kind: "messages", Count: max(kept, 0), Bytes: max(bytes, 0), Reason: "kept-messages"},
		{Drawer: Kept, Kind: "folders", Count: folders, Reason: "kept-folders"},
	}, list...)
}

// BeyondIMAP is what no copy over IMAP can carry, by the source's platform: it
// is lost unless the customer takes it along. What a platform does not have is
// not named. Exchange shows some things over IMAP in another form, or not at all,
// which only the copy finds out.
func BeyondIMAP(source string) []Item {
	kinds := []string{"rules", "auto-reply", "signatures"}
	switch source {
	case "exchange":
		kinds = append(kinds, "contacts", "calendars", "delegation", "unconverted")
	case "zimbra":
		kinds = append(kinds, "contacts", "calendars", "delegation")
	case "gmail":
		kinds = append(kinds, "contacts", "calendars")
	case "dovecot", "cyrus", "courier":
		kinds = kinds[:2] // signatures are the mail program's
	}
	var list []Item
	if source == "exchange" {
		list = append(list, Item{Drawer: Converted, Kind: "invitations", Reason: "converted-invitations"})
	}
	for _, kind := range kinds {
		list = append(list, Item{Drawer: Lost, Kind: kind, Reason: "lost-" + kind})
	}
	return list
}

// Totals count messages for what is kept, and lines for the rest.
type Totals struct{ Kept, Converted, Person, Lost int }

// Add counts items.
func (t *Totals) Add(items []Item) {
	for _, i := range items {
		switch i.Drawer {
		case Kept:
			if i.Kind == "messages" {
				t.Kept += i.Count
			}
		case Converted:
			t.Converted++
		case Person:
			t.Person++
		case Lost:
			t.Lost++
		}
	}
}
