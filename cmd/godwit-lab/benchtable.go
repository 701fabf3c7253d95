package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// figure is a line of the table.
type figure struct {
	work, goal string
	limit      string
	godwit     string
	measured   string // the ratio, where the goal is one
	met        bool
	others     string
}

func (b *bencher) add(f figure) {
	b.figures = append(b.figures, f)
	fmt.Fprintf(b.log, "%s: goal %s, measured %s %s; limit %s; %s\n", f.work, f.goal, f.godwit, f.measured, f.limit, f.others)
}

func median(costs []cost, of func(cost) float64) float64 {
	values := make([]float64, 0, len(costs))
	for _, c := range costs {
		values = append(values, of(c))
	}
	slices.Sort(values)
	if len(values) == 0 {
		return 0
	}
	return values[len(values)/2]
}

func wall(c cost) float64 { return c.wall.Seconds() }
func part(c cost) float64 { return c.part.Seconds() }

// compare holds Godwit against the best raw style of the same rounds.
func (b *bencher) compare(work string, goal float64, out outcome) {
	best := ""
	for name := range out.costs {
		if b.isLimit(name) && (best == "" || median(out.costs[name], wall) < median(out.costs[best], wall)) {
			best = name
		}
	}
	b.compareWith(work, goal, out, best)
}

func (b *bencher) isLimit(name string) bool {
	return slices.ContainsFunc(append(slices.Clone(styles), waiting...), func(s style) bool { return s.name == name })
}

func (b *bencher) compareWith(work string, goal float64, out outcome, limit string) {
	least, took := median(out.costs[limit], wall), median(out.costs[b.godwit.name()], wall)
	inside := median(out.costs[b.godwit.name()], part)
	ratio := inside / least
	b.add(figure{
		work: work, goal: fmt.Sprintf("%.2f × limit", goal), limit: fmt.Sprintf("%.2f s (%s)", least, limit),
		godwit: fmt.Sprintf("%.2f s (program %.2f s)", inside, took), measured: fmt.Sprintf("%.2f × limit", ratio), met: ratio <= goal,
		others: b.others(out, inside),
	})
}

// ratio holds one contender against another.
func (b *bencher) ratio(work string, goal float64, out outcome, one, other string) {
	a, c := median(out.costs[one], part), median(out.costs[other], part)
	b.add(figure{work: work, goal: fmt.Sprintf("%.1f × without", goal), limit: fmt.Sprintf("%.2f s", c), godwit: fmt.Sprintf("%.2f s", a), measured: fmt.Sprintf("%.2f × without", a/c), met: a/c <= goal})
}

func (b *bencher) within(work string, goal time.Duration, out outcome) {
	inside, took := median(out.costs[b.godwit.name()], part), median(out.costs[b.godwit.name()], wall)
	b.add(figure{
		work: work, goal: fmt.Sprintf("%.2f s", goal.Seconds()), godwit: fmt.Sprintf("%.2f s (program %.2f s)", inside, took),
		met: inside <= goal.Seconds(), others: b.others(out, inside),
	})
}

// others are the peers, and how many times faster Godwit is.
func (b *bencher) others(out outcome, godwit float64) string {
	var all []string
	for _, p := range b.peers {
		if costs := out.costs[p.name()]; len(costs) > 0 {
			t := median(costs, wall)
			text := fmt.Sprintf("%s %.2f s (%.1f ×)", p.name(), t, t/godwit)
			if n := out.differ[p.name()]; n > 0 {
				text += fmt.Sprintf(", %d differences", n)
			}
			all = append(all, text)
		}
	}
	return strings.Join(all, "; ")
}

// print writes the table as it goes into the README.
func (b *bencher) print(w *strings.Builder) {
	version, _ := exec.Command("dovecot", "--version").Output() // a word less in the table
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Fprintf(w, "%s, %d cores, load %s, Dovecot %s, Maildir, no TLS, medians of %d rounds.\n\n",
		time.Now().Format("2006-01-02"), runtime.NumCPU(), strings.Join(strings.Fields(string(load))[:1], ""), strings.Fields(string(version) + " ?")[0], b.rounds)
	fmt.Fprintln(w, "| work | goal | measured | | Godwit | limit | others |\n|---|---|---|---|---|---|---|")
	for _, f := range b.figures {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s |\n", f.work, f.goal, cmp.Or(f.measured, f.godwit), map[bool]string{true: "met", false: "missed"}[f.met], f.godwit, f.limit, f.others)
	}
}

// The table stands between these lines of a file.
const tableBegin, tableEnd = "<!-- make bench -->", "<!-- end of make bench -->"

func insert(file, table string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), tableBegin)
	_, after, closed := strings.Cut(rest, tableEnd)
	if !ok || !closed {
		return fmt.Errorf("%s has no %s … %s", file, tableBegin, tableEnd)
	}
	return os.WriteFile(file, []byte(before+tableBegin+"\n\n"+table+"\n"+tableEnd+after), 0o644) //nolint:gosec // everybody may read it
}

// alone runs a command of the program that needs no server.
func (g godwit) alone(ctx context.Context, dir string, args []string) (cost, error) {
	return measure([]*exec.Cmd{g.command(ctx, dir, args...)}, 1, func(code int) bool { return code == 0 })
}

const limitLooks = "LIST-STATUS on both sides"

// looks asks both sides for the state of all folders, side by side, from the
// connection to the answer: less does not tell that nothing has changed.
func (s setting) looks(ctx context.Context, p pair) (cost, error) {
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for address, user := range map[string]string{s.from: p.source, s.to: p.target} {
		group.Go(func() error {
			l, err := s.wire(ctx, address, user)
			if err != nil {
				return err
			}
			defer l.Close()
			return l.do(`LIST "" "*" RETURN (SUBSCRIBED SPECIAL-USE STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ))`, nil)
		})
	}
	err := group.Wait()
	return cost{wall: time.Since(began)}, err
}
