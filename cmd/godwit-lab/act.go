package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// act does what a user does between two passes, at random by seed.
func act(ctx context.Context, args []string, _ io.Reader, stdout io.Writer) error {
	set := flags("act", "act -dir D [-side source] -user U [-actions N] [-seed S]")
	dir := set.String("dir", "", "the lab's `folder`")
	where := set.String("side", "source", "source or target")
	user := set.String("user", "", "whose mailbox")
	count := set.Int("actions", 20, "how many actions")
	seed := set.Uint64("seed", 1, "the same seed on the same mailbox acts alike")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *user == "" {
		set.Usage()
		return errors.New("act: -user is missing")
	}
	l, err := openLab(*dir)
	if err != nil {
		return err
	}
	s, err := l.side(*where)
	if err != nil {
		return err
	}
	c, err := l.openMailbox(ctx, s.Address, *user)
	if err != nil {
		return err
	}
	defer c.logout()
	// Not the seed of `fill`, or the new mail would be the old again.
	a := &actor{conn: c, corpus: newCorpus(*seed ^ 0xac7), done: map[string]int{}}
	if a.naming, err = c.naming(); err != nil {
		return err
	}
	for range *count {
		if err := a.act(); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(stdout, "acted: %d new, %d flagged, %d moved, %d copied, %d deleted, %d folders made, %d renamed\n",
		a.done["new"], a.done["flag"], a.done["move"], a.done["copy"], a.done["delete"], a.done["make"], a.done["rename"])
	return err
}

// actor is a user at work.
type actor struct {
	*conn
	naming naming
	corpus *corpus
	done   map[string]int
	made   int
}

// act does one thing. Messages are chosen by their number in an open folder;
// in an empty one there is new mail instead.
func (a *actor) act() error {
	names, err := a.list(`LIST "" "*"`)
	if err != nil {
		return err
	}
	slices.Sort(names)
	rng := a.corpus.rng
	folder, other := names[rng.IntN(len(names))], names[rng.IntN(len(names))]
	if rng.IntN(2) == 0 {
		folder = "INBOX" // where most happens
	}
	dice := rng.IntN(100)
	switch {
	case dice < 30:
		return a.deliver(folder)
	case dice < 33:
		return a.make()
	case dice < 35:
		return a.move(folder)
	}
	exists, err := a.open(folder)
	if err != nil {
		return err
	}
	if exists == 0 {
		return a.deliver(folder)
	}
	number := strconv.Itoa(1 + rng.IntN(exists))
	switch {
	case dice < 65:
		flag := append([]string{`\Seen`, `\Flagged`, `\Answered`}, keywords...)[rng.IntN(3+len(keywords))]
		a.done["flag"]++
		return a.simply("STORE " + number + " " + []string{"+", "-"}[rng.IntN(2)] + "FLAGS.SILENT (" + flag + ")")
	case dice < 80:
		a.done["move"]++
		return a.simply("MOVE " + number + " " + quote(other))
	case dice < 85:
		a.done["copy"]++
		return a.simply("COPY " + number + " " + quote(other))
	}
	a.done["delete"]++
	if err := a.simply("STORE " + number + ` +FLAGS.SILENT (\Deleted)`); err != nil {
		return err
	}
	return a.simply("EXPUNGE")
}

func (a *actor) simply(command string) error {
	if _, err := a.do(nil, command); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

func (a *actor) deliver(folder string) error {
	a.done["new"]++
	_, err := a.appendMany(a.corpus, folder, 1)
	return err
}

// make makes a folder that was not there, and subscribes it.
func (a *actor) make() error {
	a.made++
	a.done["make"]++
	name := quote(a.naming.wire(fmt.Sprintf("Neu & schön %d-%d", a.made, a.corpus.rng.Uint32())))
	if err := a.simply("CREATE " + name); err != nil {
		return err
	}
	return a.simply("SUBSCRIBE " + name)
}

// move gives a folder another name, but not INBOX, which would only be emptied.
func (a *actor) move(folder string) error {
	if folder == "INBOX" {
		return a.make()
	}
	a.done["rename"]++
	return a.simply("RENAME " + quote(folder) + " " + quote(a.naming.wire(fmt.Sprintf("Umbenannt %d", a.corpus.rng.Uint32()))))
}

// open selects a folder and returns how many messages it holds.
func (a *actor) open(folder string) (exists int, err error) {
	_, err = a.do(func(v []value) (err error) {
		if len(v) == 2 && v[1].text == "EXISTS" {
			exists, err = strconv.Atoi(v[0].text)
		}
		return err
	}, "SELECT "+quote(folder))
	return exists, err
}
