package main

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// view is what a comparison leaves out or calls by another name.
type view struct {
	ignoreEmptyExtra    bool
	ignoreSubscriptions bool
	excluded            []string
	renamed             map[string]string
	named               map[string]map[uint32]bool // folder -> UIDs, 0 the whole folder
}

func (o *view) exclude(pattern string) error {
	_, err := path.Match(pattern, "")
	o.excluded = append(o.excluded, pattern)
	return err
}

func (o *view) rename(pair string) error {
	source, target, ok := strings.Cut(pair, "=")
	if !ok {
		return fmt.Errorf("%q is not SOURCE=TARGET", pair)
	}
	if o.renamed == nil {
		o.renamed = map[string]string{}
	}
	o.renamed[source] = target
	return nil
}

// readNamed reads which messages and folders of a user a skipped.csv names.
func (o *view) readNamed(file, user string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	reader := csv.NewReader(bytes.NewReader(text))
	if head, _, _ := bytes.Cut(text, []byte("\n")); bytes.Contains(head, []byte(";")) {
		reader.Comma = ';'
	}
	rows, err := reader.ReadAll()
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if len(rows) == 0 {
		return fmt.Errorf("%s is empty; it starts with the names of its columns", file)
	}
	account, folder, uid := slices.Index(rows[0], "account"), slices.Index(rows[0], "folder"), slices.Index(rows[0], "uid")
	if account < 0 || folder < 0 || uid < 0 {
		return fmt.Errorf("%s:1: no columns account, folder and uid", file)
	}
	o.named = map[string]map[uint32]bool{}
	for i, row := range rows[1:] {
		if row[account] != user {
			continue
		}
		n, err := strconv.ParseUint(cmp.Or(row[uid], "0"), 10, 32)
		if err != nil {
			return fmt.Errorf("%s:%d: uid: %w", file, i+2, err)
		}
		if o.named[row[folder]] == nil {
			o.named[row[folder]] = map[uint32]bool{}
		}
		o.named[row[folder]][uint32(n)] = true
	}
	return nil
}

// leavesOut tells whether a source folder is not compared.
func (o *view) leavesOut(folder string) bool {
	return o.named[folder][0] || slices.ContainsFunc(o.excluded, func(pattern string) bool {
		match, _ := path.Match(pattern, folder) // checked by exclude
		return match
	})
}

// result is what a comparison found.
type result struct {
	Equal       bool         `json:"equal"`
	Folders     int          `json:"folders"`  // compared, of the source
	Messages    int          `json:"messages"` // in them
	Bytes       int64        `json:"bytes"`
	Differences []difference `json:"differences"`
}

// difference is one thing that is not the same.
type difference struct {
	Folder    string `json:"folder"`
	Kind      string `json:"kind"` // folder, subscription, missing, extra, date, flags
	SourceUID uint32 `json:"source_uid,omitempty"`
	TargetUID uint32 `json:"target_uid,omitempty"`
	SHA256    string `json:"sha256,omitempty"`
	Source    string `json:"source"`
	Target    string `json:"target"`
}

func (d difference) String() string {
	where := fmt.Sprintf("folder %q: %s", d.Folder, d.Kind)
	for _, uid := range []struct {
		side string
		uid  uint32
	}{{"source", d.SourceUID}, {"target", d.TargetUID}} {
		if uid.uid != 0 {
			where += fmt.Sprintf(", %s uid %d", uid.side, uid.uid)
		}
	}
	if d.SHA256 != "" {
		where += ", sha256 " + d.SHA256[:16]
	}
	return fmt.Sprintf("%s: source %s, target %s", where, d.Source, d.Target)
}

// diff compares folder by folder, messages as multisets.
func diff(source, target mailbox, o view) result {
	r := result{Differences: []difference{}}
	expected := map[string]bool{}
	for name, messages := range source.folders {
		there := cmp.Or(o.renamed[name], name)
		expected[there] = true
		if o.leavesOut(name) {
			continue
		}
		messages = slices.DeleteFunc(messages, func(m message) bool { return o.named[name][m.UID] })
		r.Folders++
		r.Messages += len(messages)
		for _, m := range messages {
			r.Bytes += m.Size
		}
		got, ok := target.folders[there]
		if !ok {
			r.add(difference{Folder: name, Kind: "folder", Source: fmt.Sprintf("has it with %d messages", len(messages)), Target: "has no such folder"})
			continue
		}
		r.messages(name, messages, got)
		if !o.ignoreSubscriptions && source.subscribed[name] != target.subscribed[there] {
			r.add(difference{Folder: name, Kind: "subscription", Source: subscribed(source.subscribed[name]), Target: subscribed(target.subscribed[there])})
		}
	}
	for name, messages := range target.folders {
		if !expected[name] && (len(messages) > 0 || !o.ignoreEmptyExtra) {
			r.add(difference{Folder: name, Kind: "folder", Source: "has no such folder", Target: fmt.Sprintf("has it with %d messages", len(messages))})
		}
	}
	slices.SortFunc(r.Differences, func(a, b difference) int {
		return cmp.Or(cmp.Compare(a.Folder, b.Folder), cmp.Compare(a.SourceUID, b.SourceUID), cmp.Compare(a.TargetUID, b.TargetUID), cmp.Compare(a.Kind, b.Kind))
	})
	r.Equal = len(r.Differences) == 0
	return r
}

func (r *result) add(d difference) { r.Differences = append(r.Differences, d) }

func subscribed(yes bool) string {
	if yes {
		return "is subscribed"
	}
	return "is not subscribed"
}

// messages compares one folder. What is equal goes first; what is left is
// paired by its octets, so that a wrong date is not called a loss.
func (r *result) messages(folder string, source, target []message) {
	source, target = match(source, target, func(m message) any { return m.content }, func(message, message) {})
	missing, extra := match(source, target, func(m message) any { return m.Sum }, func(s, t message) {
		d := difference{Folder: folder, SourceUID: s.UID, TargetUID: t.UID, SHA256: hex.EncodeToString(s.Sum[:])}
		if s.Date != t.Date {
			d.Kind, d.Source, d.Target = "date", seconds(s.Date), seconds(t.Date)
			r.add(d)
		}
		if s.Flags != t.Flags {
			d.Kind, d.Source, d.Target = "flags", "("+s.Flags+")", "("+t.Flags+")"
			r.add(d)
		}
	})
	for _, m := range missing {
		r.add(difference{Folder: folder, Kind: "missing", SourceUID: m.UID, SHA256: hex.EncodeToString(m.Sum[:]), Source: m.String(), Target: "has it not, or not as often"})
	}
	for _, m := range extra {
		r.add(difference{Folder: folder, Kind: "extra", TargetUID: m.UID, SHA256: hex.EncodeToString(m.Sum[:]), Source: "has it not, or not as often", Target: m.String()})
	}
}

func (m message) String() string {
	return fmt.Sprintf("has %d octets of %s (%s)", m.Size, seconds(m.Date), m.Flags)
}

func seconds(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// match takes away from both sides, one for one and oldest first, what has the
// same key, hands each pair to on, and returns the rest.
func match(source, target []message, key func(message) any, on func(s, t message)) (s, t []message) {
	byUID := func(a, b message) int { return cmp.Compare(a.UID, b.UID) }
	source, target = slices.SortedFunc(slices.Values(source), byUID), slices.SortedFunc(slices.Values(target), byUID)
	there := map[any][]message{}
	for _, m := range target {
		there[key(m)] = append(there[key(m)], m)
	}
	for _, m := range source {
		k := key(m)
		if len(there[k]) == 0 {
			s = append(s, m)
			continue
		}
		on(m, there[k][0])
		there[k] = there[k][1:]
	}
	for _, m := range target {
		k := key(m)
		if len(there[k]) > 0 && there[k][0].UID == m.UID {
			t = append(t, m)
			there[k] = there[k][1:]
		}
	}
	return s, t
}
