package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// row is one line of the table, or several that are measured together.
type row struct {
	name    string
	measure func(*bencher, context.Context) error
}

var rows = []row{
	{"first", (*bencher).rowFirst},
	{"eight", (*bencher).rowEight},
	{"trip", (*bencher).rowTrip},
	{"disk", (*bencher).rowDisk},
	{"again", (*bencher).rowAgain},
	{"verify", (*bencher).rowVerify},
	{"memory", (*bencher).rowMemory},
	{"targets", (*bencher).rowTargets},
	{"million", (*bencher).rowMillion},
}

func rowNames() (names []string) {
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}

const trip = 20 * time.Millisecond

// quick are the styles that may be the limit of a target that lacks nothing.
var quick = styles[2:]

func raws(list []style) (all []contender) {
	for _, s := range list {
		all = append(all, raw{s})
	}
	return all
}

// everybody is the limit, Godwit and the peers.
func (b *bencher) everybody() []contender {
	return append(append(raws(quick), b.godwit), b.peers...)
}

func (b *bencher) rowFirst(ctx context.Context) error {
	source, err := b.ground.source(ctx, "large", b.messages, 20, 1)
	if err != nil {
		return err
	}
	s, stop, err := b.ground.setting(ctx, usual, 0)
	if err != nil {
		return err
	}
	defer stop()
	out, err := b.first(ctx, race{setting: s, sources: []string{source}, atOnce: 1, who: b.everybody()})
	if err != nil {
		return err
	}
	b.compare(fmt.Sprintf("first copy, 1 × %d messages", b.messages), 1.25, out)
	cpu := median(out.costs[b.godwit.name()], func(c cost) float64 { return c.cpu.Seconds() }) * 1000 / float64(b.messages)
	b.add(figure{work: "client CPU per 1,000 messages, headers verified", goal: "0.14 s", godwit: fmt.Sprintf("%.2f s", cpu), met: cpu <= 0.14})
	return nil
}

func (b *bencher) rowEight(ctx context.Context) error {
	sources, err := b.eight(ctx)
	if err != nil {
		return err
	}
	s, stop, err := b.ground.setting(ctx, usual, 0)
	if err != nil {
		return err
	}
	defer stop()
	out, err := b.first(ctx, race{setting: s, sources: sources, atOnce: 4, who: b.everybody()})
	if err == nil {
		b.compare(fmt.Sprintf("8 accounts × %d, 4 at a time", b.messages/5), 1.2, out)
	}
	return err
}

func (b *bencher) eight(ctx context.Context) (sources []string, err error) {
	for i := range 8 {
		source, err := b.ground.source(ctx, fmt.Sprint("small", i), b.messages/5, 20, uint64(i+10))
		if err != nil {
			return nil, err
		}
		sources = append(sources, source)
	}
	return sources, nil
}

func (b *bencher) rowTrip(ctx context.Context) error {
	return b.small(ctx, usual, trip, fmt.Sprintf("%d messages, round trip 20 ms", b.messages/5), 1.2)
}

func (b *bencher) rowDisk(ctx context.Context) error {
	return b.small(ctx, onDisk, 0, fmt.Sprintf("%d messages, disk with fsync", b.messages/5), 1.3)
}

// small is a first copy of the small mailbox in a setting of its own.
func (b *bencher) small(ctx context.Context, kind string, delay time.Duration, work string, goal float64) error {
	source, err := b.ground.source(ctx, "small0", b.messages/5, 20, 10)
	if err != nil {
		return err
	}
	s, stop, err := b.ground.setting(ctx, kind, delay)
	if err != nil {
		return err
	}
	defer stop()
	who := b.everybody()
	if delay > 0 { // doveadm writes into the store itself, no round trip away
		who = slices.DeleteFunc(who, func(c contender) bool { return c == doveadm{} })
	}
	out, err := b.first(ctx, race{setting: s, sources: []string{source}, atOnce: 1, who: who})
	if err == nil {
		b.compare(work, goal, out)
	}
	return err
}

// rowAgain is all that follows a first copy: runs with nothing to do, with
// little to do, and the interruption; without and with a round trip.
func (b *bencher) rowAgain(ctx context.Context) error {
	for _, w := range []struct {
		name     string
		messages int
		seed     uint64
		trip     time.Duration
	}{{"large", b.messages, 1, 0}, {"small0", b.messages / 5, 10, trip}} {
		source, err := b.ground.source(ctx, w.name, w.messages, 20, w.seed)
		if err != nil {
			return err
		}
		s, stop, err := b.ground.setting(ctx, usual, w.trip)
		if err != nil {
			return err
		}
		who := []contender{b.godwit}
		for _, p := range b.peers {
			if w.trip == 0 || p != (doveadm{}) {
				who = append(who, p)
			}
		}
		err = b.again(ctx, race{setting: s, sources: []string{source}, atOnce: 1, who: who}, w.messages, w.trip)
		stop()
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bencher) again(ctx context.Context, r race, messages int, delay time.Duration) error {
	where := fmt.Sprintf("%d messages", messages)
	if delay > 0 {
		where += ", round trip 20 ms"
	}
	all, err := b.settle(ctx, r)
	defer func() {
		for _, k := range all {
			_ = errors.Join(r.forget(k.pairs), os.RemoveAll(k.state)) // all goes at the end anyhow
		}
	}()
	if err != nil {
		return err
	}
	same, err := b.repeat(ctx, r, all, 1, func() error { return nil })
	if err != nil {
		return err
	}
	for range b.rounds {
		c, err := r.looks(ctx, all[0].pairs[0])
		if err != nil {
			return err
		}
		same.costs[limitLooks] = append(same.costs[limitLooks], c)
	}
	b.compareWith("nothing changed, "+where, 1.5, same, limitLooks)
	n := 0
	change := func(new, flags, gone int) func() error {
		return func() error {
			n++
			return b.ground.change(ctx, r.sources[0], uint64(1000*n), new, flags, gone)
		}
	}
	if delay == 0 {
		delta, err := b.repeat(ctx, r, all, 1+b.rounds, change(messages/100, messages/100, messages/100))
		if err != nil {
			return err
		}
		b.within("1 % new, 1 % flags, 1 % deleted, "+where, 150*time.Millisecond, delta)
	}
	goal := 300 * time.Millisecond
	if delay > 0 {
		goal = time.Second
	}
	if err := change(10, 0, 0)(); err != nil {
		return err
	}
	cut := outcome{costs: map[string][]cost{}, differ: map[string]int{}}
	for _, k := range all {
		if k.who != contender(b.godwit) {
			continue
		}
		c, err := k.who.run(ctx, r.setting, k.state, k.pairs, 1, cutover)
		if err != nil {
			return err
		}
		if err := b.ground.reopen(r.sources[0]); err != nil {
			return err
		}
		if err := b.judge(ctx, r.setting, k, c, &cut); err != nil {
			return err
		}
	}
	b.within("interruption with 10 new mails, "+where, goal, cut)
	return nil
}

// settle makes the targets that are run again: one of each contender, and of
// Godwit one for each interruption, of which a mailbox has only one.
func (b *bencher) settle(ctx context.Context, r race) (all []kept, err error) {
	var unused outcome
	unused.costs, unused.differ = map[string][]cost{}, map[string]int{}
	for _, who := range r.who {
		n := 1
		if who == contender(b.godwit) {
			n = b.rounds
		}
		for range n {
			k, err := b.once(ctx, r, who, &unused)
			all = append(all, k)
			if err != nil {
				return all, err
			}
		}
	}
	return all, nil
}

// repeat changes the source and runs everybody again, some rounds.
func (b *bencher) repeat(ctx context.Context, r race, all []kept, from int, change func() error) (outcome, error) {
	out := outcome{costs: map[string][]cost{}, differ: map[string]int{}}
	for round := range b.rounds {
		if err := change(); err != nil {
			return out, err
		}
		for i := range all {
			k := all[(i+round)%len(all)]
			c, err := k.who.run(ctx, r.setting, k.state, k.pairs, r.atOnce, from+round)
			if err != nil {
				return out, fmt.Errorf("%s: %w", k.who.name(), err)
			}
			if err := b.judge(ctx, r.setting, k, c, &out); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// rowVerify is the first copy with all content read back, beside the one with
// headers only.
func (b *bencher) rowVerify(ctx context.Context) error {
	source, err := b.ground.source(ctx, "large", b.messages, 20, 1)
	if err != nil {
		return err
	}
	s, stop, err := b.ground.setting(ctx, usual, 0)
	if err != nil {
		return err
	}
	defer stop()
	whole := b.godwit
	whole.verify = "content"
	out, err := b.first(ctx, race{setting: s, sources: []string{source}, atOnce: 1, who: []contender{b.godwit, whole}})
	if err == nil {
		b.ratio("verified by content as well", 1.5, out, whole.name(), b.godwit.name())
	}
	return err
}

// rowMemory is eight mailboxes at once, one of them with a message of 100 MB.
func (b *bencher) rowMemory(ctx context.Context) error {
	sources, err := b.eight(ctx)
	if err != nil {
		return err
	}
	large, err := b.ground.source(ctx, "huge", 10, 2, 99)
	if err != nil {
		return err
	}
	if err := b.ground.appendHuge(ctx, large, 100<<20); err != nil {
		return err
	}
	s, stop, err := b.ground.setting(ctx, usual, 0)
	if err != nil {
		return err
	}
	defer stop()
	out, err := b.first(ctx, race{setting: s, sources: append(sources, large), atOnce: 9, who: []contender{b.godwit}})
	if err != nil {
		return err
	}
	rss := median(out.costs[b.godwit.name()], func(c cost) float64 { return float64(c.rss) }) / (1 << 20)
	b.add(figure{work: "resident memory, 8 accounts at once and a message of 100 MB", goal: "64 MB", godwit: fmt.Sprintf("%.0f MB", rss), met: rss <= 64})
	return nil
}

// rowTargets is targets that lack an extension.
func (b *bencher) rowTargets(ctx context.Context) error {
	source, err := b.ground.source(ctx, "small0", b.messages/5, 20, 10)
	if err != nil {
		return err
	}
	for _, w := range []struct {
		kind, work string
		limit      []style
	}{
		{noMulti, "target without MULTIAPPEND", styles[:2]},
		{noLiteral, "target without LITERAL+", waiting},
	} {
		s, stop, err := b.ground.setting(ctx, w.kind, 0)
		if err != nil {
			return err
		}
		out, err := b.first(ctx, race{setting: s, sources: []string{source}, atOnce: 1, who: append(raws(w.limit), b.godwit, mbsync{})})
		stop()
		if err != nil {
			return err
		}
		b.compare(w.work, 1.1, out)
	}
	return nil
}

// rowMillion is plan and lists of a million accounts, without a server.
func (b *bencher) rowMillion(ctx context.Context) error {
	dir := filepath.Join(b.ground.dir, "million")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var list strings.Builder
	list.WriteString("service,account\n")
	for i := range 1_000_000 {
		fmt.Fprintf(&list, "s%d.example,user%d@s%d.example\n", i/10, i, i/10)
	}
	plan := fmt.Sprintf(benchPlan, "127.0.0.1:1", "127.0.0.1:2", masterLogin, b.ground.Master.SecretFile, b.godwit.self, dir, 4, "content")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "plan.yaml"), []byte(plan), 0o600), os.WriteFile(filepath.Join(dir, "all.csv"), []byte(list.String()), 0o600)); err != nil {
		return err
	}
	for _, args := range [][]string{{"validate", "--offline", "plan.yaml"}, {"preview", "plan.yaml", "--now", "2030-03-08T00:00"}} {
		c, err := b.godwit.alone(ctx, dir, args)
		if err != nil {
			return err
		}
		b.add(figure{
			work: "1,000,000 accounts: `" + strings.Join(args[:1], " ") + "`", goal: "10 s, 256 MB",
			godwit: fmt.Sprintf("%.1f s, %d MB", c.wall.Seconds(), c.rss>>20), met: c.wall <= 10*time.Second && c.rss <= 256<<20,
		})
	}
	return nil
}
