package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// compare reads both mailboxes whole and prints each difference.
func compare(ctx context.Context, args []string, _ io.Reader, stdout io.Writer) error {
	set := flags("compare", "compare -dir D -user U [-as V] [-json] …")
	dir := set.String("dir", "", "the lab's `folder`")
	user := set.String("user", "", "the source's user")
	as := set.String("as", "", "the target's user, if it has another name")
	asJSON := set.Bool("json", false, "print one JSON object")
	var o view
	set.BoolVar(&o.ignoreEmptyExtra, "ignore-extra-folders", false, "pass over folders that only the target has, if they are empty")
	set.BoolVar(&o.ignoreSubscriptions, "ignore-subscriptions", false, "pass over what is subscribed")
	set.Func("exclude", "leave out source folders that fit this `pattern` (repeatable; * is anything)", o.exclude)
	set.Func("rename", "a folder has another name at the target: `SOURCE=TARGET` (repeatable)", o.rename)
	named := set.String("named", "", "a skipped.csv: what it names for the user need not be at the target")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *user == "" {
		set.Usage()
		return errors.New("compare: -user is missing")
	}
	if *as == "" {
		*as = *user
	}
	l, err := openLab(*dir)
	if err != nil {
		return err
	}
	if *named != "" {
		if err := o.readNamed(*named, *user); err != nil {
			return err
		}
	}
	source, target, err := l.readBoth(ctx, *user, *as)
	if err != nil {
		return err
	}
	r := diff(source, target, o)
	if *asJSON {
		err = json.NewEncoder(stdout).Encode(r)
	} else {
		err = r.print(stdout)
	}
	if err == nil && !r.Equal {
		err = errDiffers
	}
	return err
}

func (r result) print(w io.Writer) error {
	if r.Equal {
		_, err := fmt.Fprintf(w, "equal: %d folders, %d messages, %d bytes\n", r.Folders, r.Messages, r.Bytes)
		return err
	}
	for _, d := range r.Differences {
		if _, err := fmt.Fprintln(w, d); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d differences in %d folders, %d messages\n", len(r.Differences), r.Folders, r.Messages)
	return err
}

// message is what has to be the same on both sides, and where it was found.
type message struct {
	content
	UID  uint32
	Size int64
	Kept [32]byte // of what servers are known to make of its octets
}

// content is a message's identity: its octets, date, flags and keywords.
type content struct {
	Sum   [32]byte
	Date  int64  // INTERNALDATE, the second
	Flags string // sorted, in lower case, without \Recent
}

// mailbox is all of an account that can be seen over IMAP.
type mailbox struct {
	folders       map[string][]message
	numbers       map[string]numbers
	subscribed    map[string]bool
	inboxIsPrefix bool // all other folders stand below INBOX
}

// numbers are what a folder counts its messages by.
type numbers struct{ validity, next string }

func (l *lab) readBoth(ctx context.Context, user, as string) (source, target mailbox, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { source, err = l.readMailbox(ctx, l.Source.Address, user); return err })
	group.Go(func() (err error) { target, err = l.readMailbox(ctx, l.Target.Address, as); return err })
	return source, target, group.Wait()
}

// readMailbox reads every message of every folder. It changes nothing.
func (l *lab) readMailbox(ctx context.Context, address, user string) (mailbox, error) {
	c, err := l.openMailbox(ctx, address, user)
	if err != nil {
		return mailbox{}, err
	}
	defer c.logout()
	c.keep = 4 << 10
	n, err := c.naming()
	if err != nil {
		return mailbox{}, err
	}
	selectable, err := c.list(`LIST "" "*"`)
	if err != nil {
		return mailbox{}, err
	}
	subscribed, err := c.list(`LSUB "" "*"`)
	if err != nil {
		return mailbox{}, err
	}
	m := mailbox{folders: map[string][]message{}, numbers: map[string]numbers{}, subscribed: map[string]bool{}, inboxIsPrefix: strings.EqualFold(n.prefix, "INBOX"+n.separator)}
	for _, wire := range subscribed {
		m.subscribed[n.local(wire)] = true
	}
	for _, wire := range selectable {
		messages, err := c.readFolder(wire)
		if err != nil {
			return mailbox{}, fmt.Errorf("%s: %s: folder %q: %w", address, user, n.local(wire), err)
		}
		m.folders[n.local(wire)] = messages
		if m.numbers[n.local(wire)], err = c.numbers(wire); err != nil {
			return mailbox{}, err
		}
	}
	return m, nil
}

// list returns the names of folders that can be opened, as on the wire.
func (c *conn) list(command string) ([]string, error) {
	var names []string
	_, err := c.do(func(v []value) error {
		// * LIST (\HasNoChildren) "/" name
		if len(v) < 4 || v[0].text != "LIST" && v[0].text != "LSUB" {
			return nil
		}
		for _, flag := range v[1].list {
			if strings.EqualFold(flag.text, `\Noselect`) || strings.EqualFold(flag.text, `\NonExistent`) {
				return nil
			}
		}
		names = append(names, v[3].text)
		return nil
	}, command)
	return names, err
}

func (c *conn) numbers(wire string) (n numbers, err error) {
	_, err = c.do(func(v []value) error {
		// * STATUS name (UIDVALIDITY 1 UIDNEXT 5)
		if len(v) != 3 || v[0].text != "STATUS" {
			return nil
		}
		for pair := range slices.Chunk(v[2].list, 2) {
			switch pair[0].text {
			case "UIDVALIDITY":
				n.validity = pair[1].text
			case "UIDNEXT":
				n.next = pair[1].text
			}
		}
		return nil
	}, "STATUS "+quote(wire)+" (UIDVALIDITY UIDNEXT)")
	return n, err
}

func (c *conn) readFolder(wire string) ([]message, error) {
	exists := 0
	_, err := c.do(func(v []value) (err error) {
		if len(v) == 2 && v[1].text == "EXISTS" {
			exists, err = strconv.Atoi(v[0].text)
		}
		return err
	}, "EXAMINE "+quote(wire))
	if err != nil || exists == 0 {
		return nil, err
	}
	messages := make(map[uint32]message, exists)
	_, err = c.do(func(v []value) error {
		// * 12 FETCH (UID 5 FLAGS (\Seen) INTERNALDATE "…" BODY[] {3} …)
		if len(v) != 3 || v[1].text != "FETCH" {
			return nil
		}
		m, whole, err := readMessage(v[2].list)
		if whole {
			messages[m.UID] = m
		}
		return err
	}, "UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])")
	if err == nil && len(messages) != exists {
		err = fmt.Errorf("the server gave %d of %d messages", len(messages), exists)
	}
	return slices.Collect(maps.Values(messages)), err
}

// readMessage reads the pairs of a FETCH response. One without a body is news
// of another session's flags, not an answer.
func readMessage(pairs []value) (m message, whole bool, err error) {
	for pair := range slices.Chunk(pairs, 2) {
		if len(pair) < 2 {
			return m, false, fmt.Errorf("FETCH ends in %q", pair[0].text)
		}
		switch pair[0].text {
		case "UID":
			uid, err := strconv.ParseUint(pair[1].text, 10, 32)
			if err != nil {
				return m, false, err
			}
			m.UID = uint32(uid)
		case "FLAGS":
			m.Flags = joinFlags(pair[1].list)
		case "INTERNALDATE":
			date, err := time.Parse("_2-Jan-2006 15:04:05 -0700", pair[1].text)
			if err != nil {
				return m, false, err
			}
			m.Date = date.Unix()
		case "BODY[]":
			m.Sum, m.Kept, m.Size, whole = pair[1].sum, pair[1].kept, pair[1].size, true
		}
	}
	return m, whole && m.UID != 0, nil
}

// joinFlags writes flags in one order and case: RFC 9051, 2.3.2, calls them
// case-insensitive.
func joinFlags(list []value) string {
	var names []string
	for _, flag := range list {
		if name := strings.ToLower(flag.text); name != `\recent` {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
