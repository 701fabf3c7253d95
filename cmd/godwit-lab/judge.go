package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// judge reads both mailboxes whole and asks of each folder and message of the
// source: is it at the target as it was, or altered in a way that servers are
// known for and that was said, or was it said not to be there? Anything else
// is wrong.
func judge(ctx context.Context, args []string, _ io.Reader, stdout io.Writer) error {
	set := flags("judge", "judge -dir D -user U [-as V] -said FILE.json")
	dir := set.String("dir", "", "the lab's `folder`")
	user := set.String("user", "", "the source's user")
	as := set.String("as", "", "the target's user, if it has another name")
	from := set.String("said", "", "what the copier said: {\"Skipped\": [{\"Folder\", \"UID\", \"Reason\", \"Detail\"}], \"Notes\": […]}")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *user == "" || *from == "" {
		set.Usage()
		return errors.New("judge: -user or -said is missing")
	}
	l, err := openLab(*dir)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(*from)
	if err != nil {
		return err
	}
	var s said
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("%s: %w", *from, err)
	}
	source, target, err := l.readBoth(ctx, *user, cmp.Or(*as, *user))
	if err != nil {
		return err
	}
	v := verdict{Folders: map[string]int{}, Messages: map[string]int{}, said: s}
	v.judge(source, target)
	if err := json.NewEncoder(stdout).Encode(v); err != nil {
		return err
	}
	if len(v.Wrong) > 0 {
		return errDiffers
	}
	return nil
}

// said is what the copier said it did not carry, or carried changed.
type said struct{ Skipped, Notes []saying }

// saying is one thing said, of a folder where the UID is 0.
type saying struct {
	Folder         string // UTF-8, / between levels, a wide / inside one
	UID            uint32
	Reason, Detail string
}

// about finds what was said of a message, or of a folder.
func about(list []saying, folder string, uid uint32, reasons ...string) (saying, bool) {
	i := slices.IndexFunc(list, func(s saying) bool {
		return s.Folder == folder && s.UID == uid && (len(reasons) == 0 || slices.Contains(reasons, s.Reason))
	})
	if i < 0 {
		return saying{}, false
	}
	return list[i], true
}

// The classes. A folder is altered if it has another name.
const (
	exactly = "exact"
	altered = "altered"
	named   = "named"
)

// verdict counts what was found, by class, and lists what is wrong.
type verdict struct {
	Folders  map[string]int `json:"folders"`
	Messages map[string]int `json:"messages"`
	Altered  []string       `json:"altered"` // and how, for people
	Wrong    []string       `json:"wrong"`

	said said
}

func (v *verdict) wrong(format string, args ...any) {
	v.Wrong = append(v.Wrong, fmt.Sprintf(format, args...))
}

func (v *verdict) judge(source, target mailbox) {
	taken := map[string]string{} // target -> source
	for _, name := range slices.Sorted(maps.Keys(source.folders)) {
		messages := source.folders[name]
		if s, ok := about(v.said.Skipped, name, 0); ok {
			v.Folders[named]++
			v.Messages[named] += len(messages)
			v.Altered = append(v.Altered, fmt.Sprintf("folder %q is not carried: %s", name, s.Detail))
			continue
		}
		there := v.place(name, target)
		got, ok := target.folders[there]
		if !ok {
			v.wrong("folder %q is not at the target as %q, and nothing was said", name, there)
			continue
		}
		if other, twice := taken[there]; twice {
			v.wrong("folders %q and %q are both %q at the target", other, name, there)
			continue
		}
		taken[there] = name
		if source.subscribed[name] && !target.subscribed[there] {
			v.wrong("folder %q is not subscribed at the target", name)
		}
		v.messages(name, messages, got)
	}
	for name, messages := range target.folders {
		if taken[name] == "" && len(messages) > 0 {
			v.wrong("the target's folder %q is nobody's and holds %d messages", name, len(messages))
		}
	}
}

// place is where a folder should be, and counts it.
func (v *verdict) place(name string, target mailbox) string {
	note, ok := about(v.said.Notes, name, 0, "folder-renamed")
	switch {
	case ok:
		v.Folders[altered]++
		v.Altered = append(v.Altered, fmt.Sprintf("folder %q is now %q", name, note.Detail))
		return note.Detail
	case target.inboxIsPrefix:
		name = strings.TrimPrefix(name, "INBOX/") // below INBOX is where all folders are
	}
	v.Folders[exactly]++
	return name
}

// messages judges one folder: what was said not to be there goes first, then
// what is equal; what is left is paired by what servers make of the octets.
func (v *verdict) messages(folder string, source, target []message) {
	here := source[:0:0]
	for _, m := range source {
		if _, ok := about(v.said.Skipped, folder, m.UID); ok {
			v.Messages[named]++
			continue
		}
		here = append(here, m)
	}
	here, target = match(here, target, func(m message) any { return m.content }, func(message, message) { v.Messages[exactly]++ })
	on := func(s, t message) {
		if why := v.excused(folder, s, t); why != "" {
			v.wrong("folder %q, message %d: %s", folder, s.UID, why)
			return
		}
		v.Messages[altered]++
	}
	here, target = match(here, target, func(m message) any { return m.Sum }, on)
	here, target = match(here, target, func(m message) any { return m.Kept }, on)
	for _, m := range here {
		v.wrong("folder %q, message %d (%d octets of %s) is not at the target, and nothing was said", folder, m.UID, m.Size, seconds(m.Date))
	}
	for _, m := range target {
		v.wrong("folder %q: the target has a message %d (%d octets) that the source has not, or not as often", folder, m.UID, m.Size)
	}
}

// excused says what of the differences between two messages no server is known
// for, or was not said; nothing if all is well.
func (v *verdict) excused(folder string, s, t message) string {
	_, noted := about(v.said.Notes, folder, s.UID, "altered")
	if s.Sum != t.Sum && !noted {
		return "NUL or line ends changed, and it was not said"
	}
	if away := s.Date - t.Date; away != 0 && away%(1<<32) != 0 { // a server of 32 bits tells the same date now so, now so
		if when := time.Unix(s.Date, 0); when.Year() >= 1970 && when.Before(time.Now().Add(time.Hour)) {
			return fmt.Sprintf("the date %s became %s", seconds(s.Date), seconds(t.Date))
		}
		if !noted {
			return fmt.Sprintf("the date %s became %s, and it was not said", seconds(s.Date), seconds(t.Date))
		}
	}
	for _, flag := range strings.Fields(s.Flags) {
		if slices.Contains(strings.Fields(t.Flags), flag) {
			continue
		}
		dropped := slices.ContainsFunc(v.said.Notes, func(n saying) bool {
			return n.Folder == folder && n.Reason == "keyword-dropped" && strings.EqualFold(n.Detail, flag)
		})
		if !dropped {
			return "flag " + flag + " is lost, and it was not said"
		}
	}
	for _, flag := range strings.Fields(t.Flags) {
		if !slices.Contains(strings.Fields(s.Flags), flag) {
			return "flag " + flag + " is new"
		}
	}
	if s.Sum != t.Sum {
		v.Altered = append(v.Altered, fmt.Sprintf("folder %q, message %d: NUL or line ends", folder, s.UID))
	}
	return ""
}
