package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"godwit/stages/platform/zimbra/zimbratest"
)

// The whole programme with temporary passwords: every pair in the list logs in
// once its user has been to webmail, and not before; nobody else is touched.
func TestTheProgrammeOnZimbra(t *testing.T) {
	l := newLaboratory(t, 0, "0s", nil)
	tests := map[string]func(w *zimbraWorld){
		"by a global administrator":          func(*zimbraWorld) {},
		"by a delegated administrator":       func(w *zimbraWorld) { w.server.Change(func(s *zimbratest.Server) { s.Domain = w.domain }) },
		"with tokens for three requests":     func(w *zimbraWorld) { w.server.Change(func(s *zimbratest.Server) { s.TokenUses = 3 }) },
		"with an alias of somebody else's":   alias,
		"with an account that stands empty":  func(w *zimbraWorld) { w.server.Add(w.users[0].address, "", nil) },
		"with an account that has been used": func(w *zimbraWorld) { w.server.Add(w.users[0].address, "chosen-1", nil) },
	}
	n := 0
	for name, change := range tests {
		n++
		t.Run(name, func(t *testing.T) {
			w := l.zimbraAt(t, n, "anna", "ben", "zoe")
			defer w.close()
			change(w)
			for _, at := range nights {
				w.night(at, false)
			}
			w.awaited(2)
			w.settled(name)
			w.awaited(0)
			w.equal()
		})
	}
}

// alias lists an address that is an alias of the bystander's: its owner's
// password must not become somebody else's.
func alias(w *zimbraWorld) {
	address := "info@" + w.domain
	w.server.Add(bystander, "untouched", nil, address)
	w.put("source", "passdb", address, map[string]string{"password": "{PLAIN}x"})
	w.put("source", "userdb", address, struct{}{})
	list := w.read("list.csv")
	w.write(filepath.Join(w.dir, "list.csv"), list+"info,"+address+",it@contact.example,temporary,x\n")
}

// Every request to Zimbra goes wrong once, in each way, one programme for each.
func TestEveryFaultOfZimbra(t *testing.T) {
	l := newLaboratory(t, 0, "0s", nil)
	calm := l.zimbraAt(t, 0, "anna", "zoe")
	defer calm.close()
	var upTo []int // requests of the nights up to and with this one
	for _, at := range nights {
		calm.night(at, false)
		upTo = append(upTo, len(calm.server.Log()))
	}
	requests := calm.server.Log()
	calm.settled("undisturbed")
	ways := []zimbratest.Failure{zimbratest.Dropped, zimbratest.Unavailable, zimbratest.Broken, zimbratest.Expired, zimbratest.Busy}
	worlds := 0
	slots := make(chan struct{}, 3)
	var wg sync.WaitGroup
	for n, request := range requests {
		these := append([]zimbratest.Failure{zimbratest.Lost}, ways[n%len(ways)])
		if os.Getenv("GODWIT_LONG") != "" {
			these = append(ways, zimbratest.Lost)
		}
		for _, how := range these {
			worlds++
			w := l.zimbraAt(t, worlds, "anna", "zoe")
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				defer w.close()
				w.server.FailAt(n, how)
				for i, at := range nights {
					w.night(at, n < upTo[i] && (i == 0 || n >= upTo[i-1]))
				}
				w.settled(fmt.Sprintf("request %d, %s, %s", n, request, how))
			})
		}
	}
	wg.Wait()
	t.Logf("%d requests, %d programmes with one of them gone wrong", len(requests), worlds)
	if len(requests) < 15 || worlds < 2*15 { // or the test is empty in silence
		t.Errorf("only %d requests, %d programmes: %v", len(requests), worlds, requests)
	}
}

// credentialPoints are where a kill matters to a password: its making, its
// setting, the must-change flag, the switch, and the list.
var credentialPoints = regexp.MustCompile(`(before|after) (anna@\S+ (ensure|temporary password|set password|must change|credentials|switch) |one/acme/passwords\.csv)`)

// The program is killed at every point of a password's way, one programme for
// each.
func TestAKillOnAPasswordsWayToZimbra(t *testing.T) {
	l := newLaboratory(t, 0, "0s", nil)
	calm := l.zimbraAt(t, 0, "anna", "zoe")
	defer calm.close()
	type kill struct{ night, point int }
	var kills []kill
	for i, at := range nights {
		for n, label := range calm.points(at, 0) {
			if credentialPoints.MatchString(label) {
				kills = append(kills, kill{i, n + 1})
			}
		}
	}
	calm.settled("undisturbed")
	t.Logf("%d points to kill at", len(kills))
	if len(kills) < 20 {
		t.Fatalf("only %d points", len(kills))
	}
	slots := make(chan struct{}, 3)
	var wg sync.WaitGroup
	for n, k := range kills {
		w := l.zimbraAt(t, n+1, "anna", "zoe")
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			defer w.close()
			label := ""
			for i, at := range nights {
				if i == k.night {
					passed := w.points(at, k.point)
					label = "killed at " + passed[len(passed)-1]
				}
				w.night(at, i == k.night)
			}
			w.settled(label)
		})
	}
	wg.Wait()
}
