package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// fill appends seeded mail to a mailbox, as fast as the server takes it.
func fill(ctx context.Context, args []string, _ io.Reader, stdout io.Writer) error {
	set := flags("fill", "fill -dir D [-side source] -user U [-messages N] [-folders N] [-seed S]")
	dir := set.String("dir", "", "the lab's `folder`")
	where := set.String("side", "source", "source or target")
	user := set.String("user", "", "whose mailbox")
	messages := set.Int("messages", 1000, "how many messages in all")
	count := set.Int("folders", 20, "how many folders")
	seed := set.Uint64("seed", 1, "the same seed makes the same mail")
	worst := set.Bool("hostile", false, "instead: every nasty mail and folder name there is, once")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *user == "" || *messages < 0 || *count < 1 {
		set.Usage()
		return errors.New("fill: -user is missing, or a number is too small")
	}
	l, err := openLab(*dir)
	if err != nil {
		return err
	}
	s, err := l.side(*where)
	if err != nil {
		return err
	}
	if *worst {
		return l.fillHostile(ctx, s.Address, *user, stdout)
	}
	c, err := l.openMailbox(ctx, s.Address, *user)
	if err != nil {
		return err
	}
	defer c.logout()
	start := time.Now()
	size, err := c.fill(newCorpus(*seed), folders(*count), *messages)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "filled: %d folders, %d messages, %d bytes in %s\n", *count, *messages, size, time.Since(start).Round(time.Millisecond))
	return err
}

// fill spreads messages over folders: INBOX gets a third, one folder nothing.
func (c *conn) fill(from *corpus, names []string, messages int) (size int64, err error) {
	n, err := c.naming()
	if err != nil {
		return 0, err
	}
	counts := make([]int, len(names))
	for range messages {
		i := 0
		if len(names) > 2 && from.rng.IntN(3) > 0 {
			i = 1 + from.rng.IntN(len(names)-2)
		}
		counts[i]++
	}
	for i, name := range names {
		wire := n.wire(name)
		if name != "INBOX" {
			if _, err := c.do(nil, "CREATE "+quote(wire)); err != nil && !strings.Contains(err.Error(), "[ALREADYEXISTS]") {
				return size, fmt.Errorf("create %q: %w", name, err)
			}
		}
		if i%3 != 2 {
			if _, err := c.do(nil, "SUBSCRIBE "+quote(wire)); err != nil {
				return size, fmt.Errorf("subscribe %q: %w", name, err)
			}
		}
		added, err := c.appendMany(from, wire, counts[i])
		size += added
		if err != nil {
			return size, fmt.Errorf("append to %q: %w", name, err)
		}
	}
	return size, nil
}

// appendMany sends groups by MULTIAPPEND with non-synchronising literals (RFC
// 3502, RFC 7888), the next while the server still works on the one before.
func (c *conn) appendMany(from *corpus, wire string, count int) (size int64, err error) {
	var pending string
	for count > 0 {
		var group []mail
		for bytes := 0; count > 0 && len(group) < 50 && bytes < 1<<20; count-- {
			m := from.mail()
			bytes += len(m.body)
			size += int64(len(m.body))
			group = append(group, m)
		}
		tag, err := c.sendAppend(wire, group)
		if err != nil {
			return size, err
		}
		if pending != "" {
			if _, err := c.await(pending, nil); err != nil {
				return size, err
			}
		}
		pending = tag
	}
	if pending != "" {
		_, err = c.await(pending, nil)
	}
	return size, err
}

func (c *conn) sendAppend(wire string, group []mail) (tag string, err error) {
	if err := c.net.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	c.count++
	tag = fmt.Sprintf("t%d", c.count)
	fmt.Fprintf(c.out, "%s APPEND %s", tag, quote(wire))
	for _, m := range group {
		fmt.Fprintf(c.out, " (%s) %q {%d+}\r\n", strings.Join(m.flags, " "), m.date.Format("_2-Jan-2006 15:04:05 -0700"), len(m.body))
		_, _ = c.out.Write(m.body) // Flush says it
	}
	_, _ = c.out.WriteString("\r\n")
	return tag, c.out.Flush()
}
