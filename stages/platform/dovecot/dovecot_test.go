package dovecot_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/stages/platform"
	"godwit/stages/platform/dovecot"
	"godwit/stages/platform/platformtest"
)

const anna, ben = "Anna@old.example", "ben@old.example"

// server is a Dovecot as far as its HTTP API goes, with a postmap beside it.
type server struct {
	dir    string
	http   *httptest.Server
	secret string // as it goes over the wire: "Basic …" or "X-Dovecot-API …"

	mu       sync.Mutex
	calls    []string
	sessions int                                               // of whoever is asked for
	stay     bool                                              // sessions survive a kick
	answer   func(w http.ResponseWriter, r *http.Request) bool // instead of the usual
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{dir: t.TempDir(), secret: "Basic " + base64.StdEncoding.EncodeToString([]byte("doveadm:canary"))}
	s.http = httptest.NewTLSServer(s)
	t.Cleanup(s.http.Close)
	s.put(t, "deny", "# by hand\nspammer@old.example:::::::\n")
	s.put(t, "map", "# by hand\nlist@old.example\tsmtp:[lists.example]:25")
	s.put(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})))
	s.put(t, "postmap", "#!/bin/sh\nexec cp \"$1\" \"$1.db\"\n")
	if err := os.Chmod(s.path("postmap"), 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *server) put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

func (s *server) text(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(s.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (s *server) driver(t *testing.T, edit func(*dovecot.Config)) *dovecot.Driver {
	t.Helper()
	c := dovecot.Config{
		URL: s.http.URL + "/doveadm/v1", CAFile: s.path("ca.pem"), DenyFile: s.path("deny"),
		TransportMap: s.path("map"), Postmap: []string{s.path("postmap"), s.path("map")}, Route: "smtp:[mx.new.example]:25",
		Secret: func(context.Context) (string, error) { return "canary", nil }, Timeout: 5 * time.Second, Reread: time.Millisecond,
	}
	if edit != nil {
		edit(&c)
	}
	d, err := dovecot.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer != nil && s.answer(w, r) {
		return
	}
	if r.Header.Get("Authorization") != s.secret {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var q [][]json.RawMessage
	var command string
	arguments := map[string][]string{}
	data, _ := io.ReadAll(r.Body)
	if json.Unmarshal(data, &q) != nil || json.Unmarshal(q[0][0], &command) != nil || json.Unmarshal(q[0][1], &arguments) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.calls = append(s.calls, command)
	fail := func(code int) { fmt.Fprintf(w, `[["error",{"type":"exitCode","exitCode":%d},"godwit"]]`, code) }
	switch command {
	case "user":
		if name := strings.ToLower(arguments["userMask"][0]); name != strings.ToLower(anna) && name != ben {
			fail(67)
			return
		}
		fmt.Fprint(w, `[["doveadmResponse",{},"godwit"]]`)
	case "kick":
		if s.sessions == 0 {
			fail(68)
			return
		}
		if !s.stay {
			s.sessions = 0
		}
		fmt.Fprint(w, `[["doveadmResponse",[],"godwit"]]`)
	case "who":
		fmt.Fprint(w, `[["doveadmResponse",[`+strings.TrimSuffix(strings.Repeat(`{"username":"anna"},`, s.sessions), ",")+`],"godwit"]]`)
	case "authCacheFlush":
		fmt.Fprint(w, `[["doveadmResponse",[{"entries":"1"}],"godwit"]]`)
	default:
		fmt.Fprint(w, `[["error",{"type":"unknownMethod","exitCode":0},"godwit"]]`)
	}
}

func request(address string) platform.Request {
	return platform.Request{Plan: "acme", Account: address, Login: address, Target: "new", TargetAccount: address}
}

func TestFreezer(t *testing.T) {
	for name, edit := range map[string]func(*dovecot.Config){
		"with a transport map": nil,
		"without":              func(c *dovecot.Config) { c.TransportMap, c.Postmap = "", nil },
	} {
		t.Run(name, func(t *testing.T) {
			platformtest.Freezer(t, func(t *testing.T) (platform.Freezer, platform.Request) {
				return newServer(t).driver(t, edit), request(anna)
			})
		})
	}
}

func TestOthersLinesStay(t *testing.T) {
	s := newServer(t)
	d := s.driver(t, nil)
	deny, routes := s.text(t, "deny"), s.text(t, "map")
	for _, who := range []string{anna, ben} {
		if err := d.Freeze(t.Context(), request(who)); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string][]string{
		"deny":   {deny, "Anna@old.example:", "anna@old.example:", "ben@old.example:"},
		"map.db": {routes, "anna@old.example\tretry:4.3.2 ", "ben@old.example\tretry:4.3.2 "},
	} {
		for _, w := range want {
			if got := s.text(t, file); !strings.Contains(got, w) {
				t.Errorf("%s has no %q:\n%s", file, w, got)
			}
		}
	}
	if err := d.Switch(t.Context(), request(anna)); err != nil {
		t.Fatal(err)
	}
	if got := s.text(t, "map.db"); !strings.Contains(got, "\nanna@old.example\tsmtp:[mx.new.example]:25\n") {
		t.Errorf("anna's mail goes nowhere:\n%s", got)
	}
	for _, who := range []string{ben, anna} { // a person's rollback thaws who is switched
		if err := d.Thaw(t.Context(), request(who)); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.text(t, "deny"); got != deny {
		t.Errorf("deny was\n%sand is\n%s", deny, got)
	}
	if got := s.text(t, "map.db"); strings.TrimSpace(got) != routes {
		t.Errorf("the map was\n%sand is\n%s", routes, got)
	}
	if info, err := os.Stat(s.path("deny")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("deny: %v, %v", info.Mode(), err)
	}
}

// Who another one refuses stays refused when Godwit is done, and another one's
// route is not written over.
func TestWhatAnotherOneWrote(t *testing.T) {
	s := newServer(t)
	d := s.driver(t, nil)
	s.put(t, "deny", "ben@old.example:::::::abuse\n")
	if state, err := d.Check(t.Context(), request(ben)); state != platform.Open || err != nil {
		t.Errorf("as far as Godwit goes he is open: %s, %v", state, err)
	}
	if err := errors.Join(d.Freeze(t.Context(), request(ben)), d.Thaw(t.Context(), request(ben))); err != nil {
		t.Fatal(err)
	}
	if got := s.text(t, "deny"); got != "ben@old.example:::::::abuse\n" {
		t.Errorf("deny is %q", got)
	}
	s.put(t, "map", "Ben@old.example   smtp:[elsewhere]\n")
	if err := d.Freeze(t.Context(), request(ben)); err == nil || !strings.Contains(err.Error(), "a map for itself") {
		t.Errorf("got %v", err)
	}
}

// Dovecot tells a change by seconds and size.
func TestEveryChangeHasItsOwnSecond(t *testing.T) {
	s := newServer(t)
	d := s.driver(t, nil)
	seen := map[int64]bool{}
	for range 3 {
		for _, do := range []func(context.Context, platform.Request) error{d.Freeze, d.Thaw} {
			if err := do(t.Context(), request(ben)); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(s.path("deny"))
			if err != nil {
				t.Fatal(err)
			}
			if at := info.ModTime().Unix(); seen[at] {
				t.Errorf("two changes of the second %d", at)
			} else {
				seen[at] = true
			}
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	s := newServer(t)
	before := s.text(t, "deny")
	var all sync.WaitGroup
	for _, who := range []string{anna, ben} {
		for range 4 {
			all.Go(func() {
				d := s.driver(t, nil) // as another process would
				if err := errors.Join(d.Freeze(t.Context(), request(who)), d.Freeze(t.Context(), request(who))); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	if n := strings.Count(s.text(t, "deny"), "godwit="); n != 3 { // anna in two forms
		t.Errorf("%d lines:\n%s", n, s.text(t, "deny"))
	}
	for _, who := range []string{anna, ben} {
		all.Go(func() {
			if err := s.driver(t, nil).Thaw(t.Context(), request(who)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := s.text(t, "deny"); got != before {
		t.Errorf("deny is\n%s", got)
	}
}

// A postmap that began with the map of before must not end last: its map would
// lack what another has been told is done.
func TestCompiledMapIsTheMap(t *testing.T) {
	s := newServer(t)
	s.put(t, "postmap", `#!/bin/sh
text=$(cat "$1"; echo end)
[ -e "$1.slow" ] || { touch "$1.slow"; sleep 0.3; }
printf %s "$text" >"$1.$$" && mv "$1.$$" "$1.db"
`)
	compiled := func() string { return strings.TrimSuffix(s.text(t, "map.db"), "end") }
	var all sync.WaitGroup
	for _, who := range []string{anna, ben} {
		all.Go(func() {
			if err := s.driver(t, nil).Freeze(t.Context(), request(who)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, want := compiled(), s.text(t, "map"); got != want {
		t.Errorf("compiled is\n%s\nwant\n%s", got, want)
	}
}

func TestSessionsEnd(t *testing.T) {
	s := newServer(t)
	s.sessions = 2
	if err := s.driver(t, nil).Freeze(t.Context(), request(ben)); err != nil || s.sessions != 0 {
		t.Errorf("%d sessions, %v", s.sessions, err)
	}
	if got := strings.Join(s.calls, " "); got != "user authCacheFlush kick who" {
		t.Errorf("it asked for %s", got)
	}
	s.sessions, s.stay = 1, true
	err := s.driver(t, nil).Freeze(t.Context(), request(ben))
	if err == nil || !errors.Is(err, platform.ErrUnknown) || !strings.Contains(err.Error(), "cannot be kicked") {
		t.Errorf("got %v", err)
	}
}

// What was cut off between two files is neither frozen nor open, and every
// action goes on from there.
func TestHalfDone(t *testing.T) {
	line := "ben@old.example:::::::godwit=frozen\n"
	for action, want := range map[string]platform.State{"freeze": platform.Frozen, "thaw": platform.Open, "switch": platform.Switched} {
		t.Run(action, func(t *testing.T) {
			s := newServer(t)
			s.put(t, "deny", line)
			d := s.driver(t, nil)
			if state, err := d.Check(t.Context(), request(ben)); err == nil {
				t.Errorf("it says %s", state)
			}
			do := map[string]func(context.Context, platform.Request) error{"freeze": d.Freeze, "thaw": d.Thaw, "switch": d.Switch}
			if err := do[action](t.Context(), request(ben)); err != nil {
				t.Fatal(err)
			}
			if state, err := d.Check(t.Context(), request(ben)); state != want || err != nil {
				t.Errorf("it says %s, %v; want %s", state, err, want)
			}
		})
	}
}

func TestThawWorksWhereTheAPIIsAway(t *testing.T) {
	s := newServer(t)
	d := s.driver(t, nil)
	if err := d.Freeze(t.Context(), request(ben)); err != nil {
		t.Fatal(err)
	}
	s.http.Close()
	if err := d.Thaw(t.Context(), request(ben)); err == nil {
		t.Error("nothing is said of the API: what it remembers of the login may still hold")
	}
	if got := s.text(t, "deny"); strings.Contains(got, "ben") {
		t.Errorf("he is still refused:\n%s", got)
	}
}

func TestASecretThatIsAnAPIKey(t *testing.T) {
	s := newServer(t)
	s.secret = "X-Dovecot-API " + base64.StdEncoding.EncodeToString([]byte("canary"))
	if err := s.driver(t, nil).Freeze(t.Context(), request(ben)); err != nil {
		t.Error(err)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	tests := map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		says   string
	}{
		"a refused secret": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "the secret is refused"},
		"an error page":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, "HTTP status 502"},
		"a page":           {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "not the answer of a doveadm API"},
		"another shape":    {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[["doveadmResponse"]]`) }, "not the answer of a doveadm API"},
		"an unknown command": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `[["error",{"type":"unknown\u001bMethod"},"x"]]`)
		}, `"unknown\x1bMethod"`},
		"a flood": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 3<<20)) }, "has no end"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/", http.StatusTemporaryRedirect)
		}, "HTTP status 307"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.answer = func(w http.ResponseWriter, r *http.Request) bool { tt.answer(w, r); return true }
			err := s.driver(t, nil).Freeze(t.Context(), request(ben))
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNamesThatWouldMeanMore(t *testing.T) {
	s := newServer(t)
	for _, name := range []string{"", "a:b@old.example", "*@old.example", "a b", "a\nroot", "#x", `a\b`, "%u"} {
		r := request(ben)
		r.Login = name
		if name == "" {
			r.Account = ""
		}
		if err := s.driver(t, nil).Freeze(t.Context(), r); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	if len(s.calls) > 0 {
		t.Errorf("asked: %q", s.calls)
	}
}

func TestProbe(t *testing.T) {
	s := newServer(t)
	if err := s.driver(t, nil).Probe(); err != nil {
		t.Error(err)
	}
	for name, edit := range map[string]func(*dovecot.Config){
		"no deny file": func(c *dovecot.Config) { c.DenyFile += ".not" },
		"no map":       func(c *dovecot.Config) { c.TransportMap += ".not" },
		"no postmap":   func(c *dovecot.Config) { c.Postmap = []string{"/nowhere/postmap"} },
	} {
		if err := s.driver(t, edit).Probe(); err == nil {
			t.Errorf("%s: not found", name)
		}
	}
	if files, err := os.ReadDir(s.dir); err != nil || len(files) != 4 {
		t.Errorf("it left something behind: %v, %v", files, err)
	}
	if _, err := dovecot.New(dovecot.Config{TransportMap: "/x"}); err == nil {
		t.Error("a map without a route was taken")
	}
}
