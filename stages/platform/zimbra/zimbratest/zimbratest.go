// Package zimbratest is a server that behaves like Zimbra's admin SOAP
// interface in its JSON form, in memory, on loopback, with TLS: for tests.
//
// It keeps what the driver's promises rest on: faults with HTTP 500, answers to
// a look-up by an alias, tokens that run out, a password policy that a global
// administrator passes over with a message, must-change flags that setting a
// password clears, and answers that never come.
package zimbratest

import (
	"crypto/rand"
	"encoding/pem"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Account is a mailbox of the server. Attributes are the account's own; what is
// missing comes from the server's COS.
type Account struct {
	ID       string
	Name     string
	Password string
	Aliases  []string
	Attrs    map[string]string
}

// Server is one server. Its fields may be set before the first request, by Change
// if that comes from another process.
type Server struct {
	URL    string
	CAFile string

	Admin, AdminPassword string
	Domain               string            // of a delegated administrator; "": a global one
	Domains              []string          // that it has
	COS                  map[string]string // what accounts have that they do not have themselves
	TokenUses            int               // a token runs out after so many requests; 0: never
	OnChange             func(Account)     // one is new, or has been changed

	mu       sync.Mutex
	accounts map[string]*Account // by name
	tokens   map[string]int      // uses
	failures map[string][]Failure
	failAt   map[int]Failure
	answers  map[string]string
	log      []string
	server   *httptest.Server
}

// Failure is how a request goes wrong, see FailNext.
type Failure string

// The failures.
const (
	Lost        Failure = "lost"        // done, and the connection ends without an answer
	Dropped     Failure = "dropped"     // not done, and the connection ends
	Unavailable Failure = "unavailable" // a fault that asks to come back
	Busy        Failure = "busy"        // HTTP 503 without SOAP: the filter in front
	Garbage     Failure = "garbage"     // done, answered with HTML
	Stranger    Failure = "stranger"    // done, answered with another account
	Endless     Failure = "endless"     // not done, an answer without end
	Deep        Failure = "deep"        // not done, an answer nested without end
	Broken      Failure = "broken"      // not done, service.FAILURE
	Expired     Failure = "expired"     // not done: every token has run out
)

// Failures are all of them.
var Failures = []Failure{Lost, Dropped, Unavailable, Busy, Garbage, Stranger, Endless, Deep, Broken, Expired}

// New starts a server that ends with the test.
func New(t testing.TB) *Server {
	s := &Server{
		Admin: "admin@new.example", AdminPassword: rand.Text(), Domains: []string{"new.example"},
		COS: map[string]string{
			"zimbraAccountStatus": "active", "zimbraImapEnabled": "TRUE", "zimbraPrefImapEnabled": "TRUE",
			"zimbraPasswordMinLength": "6", "zimbraPasswordMaxLength": "64",
			"zimbraMailTrashLifetime": "0", "zimbraMailSpamLifetime": "0", "zimbraMailMessageLifetime": "0",
		},
		accounts: map[string]*Account{}, tokens: map[string]int{}, failures: map[string][]Failure{}, failAt: map[int]Failure{}, answers: map[string]string{},
	}
	s.server = httptest.NewTLSServer(s)
	t.Cleanup(s.server.Close)
	s.URL = s.server.URL + "/service/admin/soap"
	s.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})
	if err := os.WriteFile(s.CAFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// Add makes an account; attrs are its own.
func (s *Server) Add(name, password string, attrs map[string]string, aliases ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(name, password, attrs, aliases...)
}

func (s *Server) add(name, password string, attrs map[string]string, aliases ...string) *Account {
	a := &Account{ID: "id-" + rand.Text(), Name: strings.ToLower(name), Password: password, Aliases: aliases, Attrs: map[string]string{}}
	for k, v := range attrs {
		set(a, k, v)
	}
	s.accounts[a.Name] = a
	s.changed(a)
	return a
}

// changed tells of a, which is new or was changed.
func (s *Server) changed(a *Account) {
	if s.OnChange != nil {
		s.OnChange(a.copy())
	}
}

func (a *Account) copy() Account {
	c := *a
	c.Attrs = maps.Clone(a.Attrs)
	return c
}

// Change sets fields.
func (s *Server) Change(how func(*Server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	how(s)
}

// Get returns a copy of the account, and whether there is one of that name; an
// alias is not a name.
func (s *Server) Get(name string) (Account, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.accounts[strings.ToLower(name)]
	if !ok {
		return Account{}, false
	}
	return a.copy(), true
}

// Set changes an account's own attribute; "" takes it away.
func (s *Server) Set(name, attr, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[strings.ToLower(name)]
	set(a, attr, value)
	s.changed(a)
}

func set(a *Account, attr, value string) {
	if value == "" {
		delete(a.Attrs, attr)
		return
	}
	a.Attrs[attr] = value
}

// FailNext lets the next requests called name (GetAccount, SetPassword, …) go
// wrong, one after the other.
func (s *Server) FailNext(name string, how ...Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures[name] = append(s.failures[name], how...)
}

// FailAt lets the n-th request of all, from 0, go wrong.
func (s *Server) FailAt(n int, how Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failAt[n] = how
}

// AnswerNext has the next request called name answered with this body, undone.
func (s *Server) AnswerNext(name, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[name] = body
}

// Log is the names of all requests so far, in order.
func (s *Server) Log() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// Calls is how often a request was received.
func (s *Server) Calls(name string) int {
	n := 0
	for _, one := range s.Log() {
		if one == name {
			n++
		}
	}
	return n
}

// Expire makes every token invalid.
func (s *Server) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}
