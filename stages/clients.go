package stages

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages/greeting"
)

// Clients looks at the addresses that users' mail programs have configured
// (targets.NAME.clients), which are promised to go on working: before the move
// whether the target could stand in for them, afterwards whether it does. What
// it finds is for the operator and holds nobody. A nil *Clients finds nothing.
type Clients struct {
	Plan *plans.Plan
	Now  func() time.Time

	mu   sync.Mutex
	seen map[string]seen // after the switch, by target
}

type seen struct {
	at   time.Time
	text string
}

// looksAgain is how long one look at a target's addresses holds for all accounts.
const looksAgain = 5 * time.Minute

// before is what would not fit, one sentence for each address.
func (c *Clients) before(ctx context.Context, service plans.Service) []string {
	if c == nil {
		return nil
	}
	var list []string
	done := map[string]bool{}
	for _, a := range service.Accounts {
		target := c.Plan.Targets[a.Target]
		if a.Action == "skip" || target == nil || done[a.Target] {
			continue
		}
		done[a.Target] = true
		for _, client := range target.Clients {
			now, err := greeting.Look(ctx, client, hostOf(client), target.IMAP.CAFile)
			if err != nil {
				list = append(list, fmt.Sprintf("clients: %s: %v", client, err))
			}
			if now.Protocol != greeting.IMAP {
				continue // the plan does not say where the target takes mail
			}
			if _, err := greeting.Look(ctx, target.IMAP.Address, hostOf(client), target.IMAP.CAFile); err != nil {
				list = append(list, fmt.Sprintf("clients: %s: the target could not stand in for it, since at %s %v", client, target.IMAP.Address, err))
			}
		}
	}
	return list
}

// after is what does not fit now that the routing points to the target.
func (c *Clients) after(ctx context.Context, target *plans.Target) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.seen[target.Name]; ok && c.Now().Sub(last.at) < looksAgain {
		return last.text
	}
	own, _ := greeting.Look(ctx, target.IMAP.Address, hostOf(target.IMAP.Address), target.IMAP.CAFile)
	var list []string
	for _, client := range target.Clients {
		there, err := greeting.Look(ctx, client, hostOf(client), target.IMAP.CAFile)
		switch {
		case err != nil:
			list = append(list, fmt.Sprintf("clients: %s: %v", client, err))
		case there.Protocol == greeting.IMAP && own.Text != "" && greeting.Unlike(there, own):
			list = append(list, fmt.Sprintf("clients: %s: it does not lead to the target: it greets with %q, the target with %q", client, there.Text, own.Text))
		}
	}
	if ctx.Err() != nil {
		return c.seen[target.Name].text // stopped: what was known
	}
	if c.seen == nil {
		c.seen = map[string]seen{}
	}
	c.seen[target.Name] = seen{c.Now(), strings.Join(list, "; ")}
	return c.seen[target.Name].text
}

// record looks for an account that has moved, and keeps what came of it.
func (c *Clients) record(ctx context.Context, journal pipeline.Journal) error {
	state := journal.State()
	if c == nil || state.Thaw == nil {
		return nil
	}
	target := c.Plan.Targets[state.Thaw.Request["target"]]
	if target == nil || len(target.Clients) == 0 {
		return nil
	}
	text := c.after(ctx, target)
	if text == state.Clients {
		return nil
	}
	return journal.End(ctx, "clients", ledger.Note, text, func(s *ledger.State) { s.Clients = text })
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
