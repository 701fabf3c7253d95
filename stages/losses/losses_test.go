package losses_test

import (
	"testing"

	"godwit/stages/losses"
	"godwit/stages/mailbox"
	"godwit/stages/platform"
)

func TestEveryFindingHasItsDrawer(t *testing.T) {
	tests := map[mailbox.Reason]losses.Drawer{
		mailbox.TooLarge: losses.Lost, mailbox.Unreadable: losses.Lost, mailbox.Excluded: losses.Lost, mailbox.FolderRefused: losses.Lost,
		mailbox.Shared: losses.Lost, mailbox.NotMail: losses.Lost, mailbox.Refused: losses.Lost,
		mailbox.FolderRenamed: losses.Converted, mailbox.KeywordDropped: losses.Converted, mailbox.Altered: losses.Converted,
	}
	for reason, want := range tests {
		items := losses.Of(mailbox.Survey{Findings: []mailbox.Skipped{{Folder: "A", Reason: reason}}}, nil)
		if got := items[len(items)-1]; got.Drawer != want || got.Reason != string(reason) {
			t.Errorf("%s: %+v; want %s", reason, got, want)
		}
	}
}

func TestWhatIsLostIsNotKept(t *testing.T) {
	survey := mailbox.Survey{
		Folders: 3, Messages: 100, Bytes: 5000, Quota: 4000, Used: 10,
		Findings: []mailbox.Skipped{
			{Folder: "INBOX", UID: 7, Bytes: 3000, Reason: mailbox.TooLarge},
			{Folder: "A:B", Reason: mailbox.FolderRenamed},
		},
	}
	settings := []platform.Finding{{Code: "imap-disabled", Blocks: true, Text: "a"}, {Code: "lockout", Text: "b"}}
	items := losses.Of(survey, settings)
	if items[0].Count != 99 || items[0].Bytes != 2000 || items[1].Count != 3 {
		t.Errorf("kept: %+v, %+v; want 99 messages, 2000 bytes and 3 folders", items[0], items[1])
	}
	var totals losses.Totals
	totals.Add(items)
	totals.Add(losses.BeyondIMAP("exchange"))
	if want := (losses.Totals{Kept: 99, Converted: 3, Person: 2, Lost: 8}); totals != want {
		t.Errorf("totals %+v; want %+v", totals, want)
	}
}
