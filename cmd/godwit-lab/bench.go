package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bench measures Godwit, its peers and the limit side by side on real Dovecots,
// without TLS for all alike, and prints a table. Rounds are interleaved and
// medians compared, because machines are noisy; content is compared each time.
func bench(ctx context.Context, args []string, _ io.Reader, stdout io.Writer) error {
	set := flags("bench", "bench [-rounds N] [-messages N] [-rows first,eight,…] [-imapsync PATH] …")
	b := &bencher{log: os.Stderr}
	program := set.String("godwit", "", "the program to measure (default: godwit beside this one)")
	set.IntVar(&b.rounds, "rounds", 3, "rounds of each row")
	set.IntVar(&b.messages, "messages", 5000, "messages of the large mailbox; others are in proportion")
	names := set.String("rows", "", "only these `rows`, with commas between them: "+strings.Join(rowNames(), ", "))
	memory := set.String("memory", "/dev/shm", "a `folder` in memory, for mail whose disk is not to be measured")
	disk := set.String("disk", os.TempDir(), "a `folder` on a disk, for the row with fsync")
	into := set.String("into", "", "also write the table into this `file`, between "+tableBegin+" and "+tableEnd)
	imapsyncPath := set.String("imapsync", "", "`path` of imapsync, to measure it as well")
	if err := set.Parse(args); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if *program == "" {
		*program = filepath.Join(filepath.Dir(self), "godwit")
	}
	b.godwit = godwit{program: *program, self: self, verify: "headers"}
	if err := b.findPeers(*imapsyncPath); err != nil {
		return err
	}
	chosen := rows
	if *names != "" {
		chosen = slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !slices.Contains(strings.Split(*names, ","), r.name) })
	}
	dir, err := os.MkdirTemp(*memory, "godwit-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	onDisk, err := os.MkdirTemp(*disk, "godwit-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(onDisk)
	if err := openPath(onDisk); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the servers' user passes
		return err
	}
	if b.ground, err = openGround(ctx, dir, onDisk); err != nil {
		return err
	}
	defer b.ground.close()
	for _, r := range chosen {
		began := time.Now()
		if err := r.measure(b, ctx); err != nil {
			return fmt.Errorf("row %s: %w", r.name, err)
		}
		fmt.Fprintf(b.log, "%s took %s\n", r.name, time.Since(began).Round(time.Second))
	}
	var table strings.Builder
	b.print(&table)
	if _, err := io.WriteString(stdout, table.String()); err != nil || *into == "" {
		return err
	}
	return insert(*into, table.String())
}

// bencher is a benchmark on its way.
type bencher struct {
	ground           *ground
	godwit           godwit
	peers            []contender
	rounds, messages int
	log              io.Writer
	figures          []figure
}

func (b *bencher) findPeers(imapsyncPath string) error {
	for name, c := range map[string]contender{"mbsync": mbsync{}, "doveadm": doveadm{}} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%s is not installed: apt-get install isync dovecot-core", name)
		}
		b.peers = append(b.peers, c)
	}
	slices.SortFunc(b.peers, func(a, c contender) int { return strings.Compare(a.name(), c.name()) })
	if imapsyncPath != "" {
		b.peers = append(b.peers, imapsync{imapsyncPath})
	}
	return nil
}

// kept is a target that stays for a later run, and where its state lies.
type kept struct {
	who   contender
	state string
	pairs []pair
}

// race is the rounds of several contenders in one setting.
type race struct {
	setting
	sources []string
	atOnce  int
	who     []contender
	keep    bool // the targets of the last round stay
}

// outcome is what the rounds gave, by contender.
type outcome struct {
	costs  map[string][]cost
	differ map[string]int // most differences of a round
	kept   []kept
}

// first runs first copies. Each round has its own order, so that none is
// always the one after the slowest.
func (b *bencher) first(ctx context.Context, r race) (outcome, error) {
	out := outcome{costs: map[string][]cost{}, differ: map[string]int{}}
	for round := range b.rounds {
		for i := range r.who {
			who := r.who[(i+round)%len(r.who)]
			k, err := b.once(ctx, r, who, &out)
			if err != nil {
				return out, err
			}
			if r.keep && round == b.rounds-1 {
				out.kept = append(out.kept, k)
				continue
			}
			if err := errors.Join(r.forget(k.pairs), os.RemoveAll(k.state)); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

func (b *bencher) once(ctx context.Context, r race, who contender, out *outcome) (k kept, err error) {
	k.who = who
	if k.pairs, err = r.pairs(r.sources); err != nil {
		return k, err
	}
	if k.state, err = os.MkdirTemp(r.work, "state-"); err != nil {
		return k, err
	}
	c, err := who.run(ctx, r.setting, k.state, k.pairs, r.atOnce, 0)
	if err != nil {
		return k, fmt.Errorf("%s: %w", who.name(), err)
	}
	return k, b.judge(ctx, r.setting, k, c, out)
}

// judge notes what a run took, and what its targets lack. Godwit's and the
// limit's must lack nothing: a figure of a wrong copy is worth nothing.
func (b *bencher) judge(ctx context.Context, s setting, k kept, c cost, out *outcome) error {
	name := k.who.name()
	differ, which, err := s.check(ctx, k.pairs, k.who.sees())
	if err != nil {
		return err
	}
	switch k.who.(type) {
	case godwit, raw:
		if differ > 0 {
			named, _ := os.ReadFile(filepath.Join(k.state, "out", "all", "skipped.csv")) // there is none of the limit
			return fmt.Errorf("%s: %d differences, the first: %s\n%s", name, differ, which, last(string(named), 1000))
		}
	}
	out.costs[name] = append(out.costs[name], c)
	out.differ[name] = max(out.differ[name], differ)
	fmt.Fprintf(b.log, "  %-40s %8s  cpu %6s  %3d MB  %d differences\n", name, c.wall.Round(time.Millisecond), c.cpu.Round(time.Millisecond), c.rss>>20, differ)
	return nil
}
