package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"slices"
)

// snapshot prints every message of a mailbox as JSON, one a line: what a test
// holds against what is there later.
func snapshot(ctx context.Context, args []string, _ io.Reader, stdout io.Writer) error {
	set := flags("snapshot", "snapshot -dir D [-side source] -user U")
	dir := set.String("dir", "", "the lab's `folder`")
	where := set.String("side", "source", "source or target")
	user := set.String("user", "", "whose mailbox")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *user == "" {
		set.Usage()
		return errors.New("snapshot: -user is missing")
	}
	l, err := openLab(*dir)
	if err != nil {
		return err
	}
	s, err := l.side(*where)
	if err != nil {
		return err
	}
	m, err := l.readMailbox(ctx, s.Address, *user)
	if err != nil {
		return err
	}
	var lines []line
	for folder, messages := range m.folders {
		n := m.numbers[folder]
		lines = append(lines, line{Folder: folder, Validity: n.validity, Next: n.next, Subscribed: m.subscribed[folder]}) // it is there, though it may be empty
		for _, msg := range messages {
			lines = append(lines, line{Folder: folder, UID: msg.UID, SHA256: hex.EncodeToString(msg.Sum[:]), Date: msg.Date, Flags: msg.Flags})
		}
	}
	slices.SortFunc(lines, func(a, b line) int { return cmp.Or(cmp.Compare(a.Folder, b.Folder), cmp.Compare(a.UID, b.UID)) })
	encoder := json.NewEncoder(stdout)
	for _, one := range lines {
		if err := encoder.Encode(one); err != nil {
			return err
		}
	}
	return nil
}

// line is one message, or with UID 0 a folder.
type line struct {
	Folder string `json:"folder"`
	UID    uint32 `json:"uid"`
	SHA256 string `json:"sha256,omitempty"`
	Date   int64  `json:"date,omitempty"` // INTERNALDATE, Unix seconds
	Flags  string `json:"flags,omitempty"`

	Validity   string `json:"uidvalidity,omitempty"` // of a folder, as what follows
	Next       string `json:"uidnext,omitempty"`
	Subscribed bool   `json:"subscribed,omitempty"`
}
