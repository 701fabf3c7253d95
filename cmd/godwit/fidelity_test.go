package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"godwit/stages/demohost"
	"godwit/stages/mailbox"
)

// fewestNasty is how many nasty mails, and how many nasty folder names, a
// source has to hold for a case to prove anything.
const fewestNasty = 60

// hostileServer is where a case copies from or to: a server of the lab as
// lab.json describes it, or the hoster in memory, which takes any octet and any
// name, and can be deaf to case.
type hostileServer struct {
	Address string     `json:"address"`
	Master  *labMaster `json:"master,omitempty"`
	CA      string     `json:"ca,omitempty"`
}

type labMaster struct {
	Login      string `json:"login"`
	SecretFile string `json:"secret_file"`
}

func (s hostileServer) endpoint(user string) mailbox.Endpoint {
	secret := func(context.Context) (string, error) {
		text, err := os.ReadFile(s.Master.SecretFile)
		return strings.TrimSpace(string(text)), err
	}
	return mailbox.Endpoint{
		Server: &mailbox.Server{Address: s.Address, TLS: "implicit", CAFile: s.CA, Auth: "authzid", Login: s.Master.Login, Secret: secret},
		Login:  mailbox.Login{User: user},
	}
}

// Every nasty mail and folder goes from every kind of server to every other,
// and the lab's own reader, which shares no code with the engine, finds each as
// it was, or altered in a known way and said so, or named.
func TestNothingIsLostOnRealServers(t *testing.T) {
	labs := []struct {
		source, target string
		real, any      want
	}{
		{"maildir", "cyrus", want{named: 6}, want{named: 10}}, // NUL and bare line ends arrive, in a body that is not binary
		{"cyrus", "maildir", want{altered: 11}, want{named: 1}},
		{"maildir", "sdbox", want{named: 1}, want{named: 1}},
		{"sdbox", "cyrus-alt", want{named: 6}, want{named: 10}},
	}
	for i, format := range labs {
		t.Run(format.source+" to "+format.target, func(t *testing.T) {
			t.Parallel()
			l := startLab(t, "-format", format.source, "-target-format", format.target)
			memory := startMemoryHost(t)
			from := hostileServer{l.up.Source.Address, l.master(), l.up.CA}
			to := hostileServer{l.up.Target.Address, l.master(), l.up.CA}
			t.Run("from a real server", func(t *testing.T) { l.carry(t, "real@old.example", from, to, nil, format.real) })
			t.Run("from one that holds anything", func(t *testing.T) {
				l.carry(t, "any@old.example", memory.side(demohost.Source), to, memory.MutationCount, format.any)
			})
			if i == 0 {
				t.Run("to one that is deaf to case", func(t *testing.T) { l.carry(t, "case@old.example", from, memory.side(demohost.Target), nil, want{}) })
				t.Run("from anything to one deaf to case", func(t *testing.T) {
					l.carry(t, "both@old.example", memory.side(demohost.Source), memory.side(demohost.Target), memory.MutationCount, want{})
				})
			}
		})
	}
}

// want is how many messages no copier can carry between two servers, and how
// many at least the target does not hold as they are.
type want struct{ named, altered int }

// startLab starts the lab without users, mail or plan.
func startLab(t *testing.T, args ...string) *laboratory {
	t.Helper()
	needServers(t)
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	l := &laboratory{t: t, dir: t.TempDir(), home: t.TempDir(), bin: bin}
	l.start(args...)
	t.Cleanup(func() {
		for _, side := range []string{"source", "target"} {
			if text, _ := os.ReadFile(filepath.Join(l.home, side, "error.log")); t.Failed() {
				t.Logf("the %s's log ends in:\n%s", side, text[max(0, len(text)-2000):])
			}
		}
	})
	return l
}

func (l *laboratory) master() *labMaster {
	return &labMaster{l.up.Master.Login, l.up.Master.SecretFile}
}

// memoryHost is the hoster in memory with the accounts of the cases.
type memoryHost struct {
	*demohost.Host
	secret string
}

func startMemoryHost(t *testing.T) memoryHost {
	t.Helper()
	dir, err := os.MkdirTemp("", "godwit-memory-")
	if err != nil {
		t.Fatal(err)
	}
	host, err := demohost.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(host.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	for _, user := range []string{"any@old.example", "case@old.example", "both@old.example"} {
		for _, side := range []demohost.Side{demohost.Source, demohost.Target} {
			host.AddAccount(side, user, "own-password")
		}
		if err := host.IgnoreCase(demohost.Target, user); err != nil {
			t.Fatal(err)
		}
		if err := host.PutFolder(demohost.Target, user, demohost.Folder{Name: "Sent", Use: []string{`\Sent`}}); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(dir, "migrator")
	if err := os.WriteFile(secret, []byte(host.Migrator().Secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return memoryHost{host, secret}
}

func (m memoryHost) side(side demohost.Side) hostileServer {
	address := m.SourceAddress
	if side == demohost.Target {
		address = m.TargetAddress
	}
	return hostileServer{address, &labMaster{m.Migrator().Login, m.secret}, m.CAFile}
}

// carry fills one mailbox, copies it and has the copy judged. changes counts the
// commands that change the source, where it can tell.
func (l *laboratory) carry(t *testing.T, user string, from, to hostileServer, changes func() int, want want) {
	// The same lab, as one that runs between these two servers.
	home := t.TempDir()
	text, err := json.Marshal(map[string]any{"dir": home, "source": from, "target": to})
	if err != nil {
		t.Fatal(err)
	}
	l.write(filepath.Join(home, "lab.json"), string(text))
	secret := filepath.Join(home, "secret")
	l.write(secret, "own-password\n")
	l.lab("user", "-dir", l.home, user, secret)
	filled := l.lab("fill", "-dir", home, "-user", user, "-hostile")
	var folders, mails int
	if _, err := fmt.Sscanf(filled, "filled: %d nasty folders, %d messages", &folders, &mails); err != nil || folders < fewestNasty || mails-folders < fewestNasty/2 {
		t.Fatalf("the source holds too little of what is nasty: %s", filled)
	}

	if changes != nil {
		filling := changes()
		defer func() {
			if n := changes() - filling; n != 0 {
				t.Errorf("%d commands would have changed the source", n)
			}
		}()
	}
	p := mailbox.Pass{Source: from.endpoint(user), Target: to.endpoint(user), Store: newKept(), Options: mailbox.Options{MaxDelete: 0.1, Connections: 2}}
	if _, err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	differs, err := p.Verify(t.Context(), "content")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range differs {
		t.Errorf("verify: folder %q, message %d: %s %s", d.Folder, d.UID, d.Reason, d.Detail)
	}
	again, err := p.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again.Copied+again.Updated+again.Moved+again.Deleted > 0 {
		t.Errorf("a second pass copied %d, changed %d, moved %d, deleted %d", again.Copied, again.Updated, again.Moved, again.Deleted)
	}
	l.judge(t, home, user, again, want)
}

// judge asks the lab what became of each folder and message.
func (l *laboratory) judge(t *testing.T, home, user string, result mailbox.Result, want want) {
	said, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	l.write(filepath.Join(home, "said.json"), string(said))
	out, err := exec.Command(l.bin.lab, "judge", "-dir", home, "-user", user, "-said", filepath.Join(home, "said.json")).Output()
	var verdict struct {
		Folders, Messages map[string]int
		Altered, Wrong    []string
	}
	if jerr := json.Unmarshal(out, &verdict); jerr != nil {
		t.Fatalf("the judge says %q: %v, %v", out, err, jerr)
	}
	t.Logf("folders: %v; messages: %v", verdict.Folders, verdict.Messages)
	for _, text := range verdict.Altered {
		t.Log(text)
	}
	for _, s := range result.Skipped {
		t.Logf("not carried: folder %q, message %d: %s %s", s.Folder, s.UID, s.Reason, s.Detail)
	}
	for _, text := range verdict.Wrong {
		t.Error(text)
	}
	if verdict.Folders["exact"] == 0 || verdict.Messages["exact"] < fewestNasty {
		t.Errorf("hardly anything arrived as it was: %v, %v", verdict.Folders, verdict.Messages)
	}
	if n := verdict.Messages["named"]; n != want.named || verdict.Messages["altered"] < want.altered {
		t.Errorf("%d messages are not carried, want %d; %d are altered, want %d or more", n, want.named, verdict.Messages["altered"], want.altered)
	}
}

// kept is a ledger in memory.
type kept struct {
	mu   sync.Mutex
	data map[string][]byte
}

func newKept() *kept { return &kept{data: map[string][]byte{}} }

func (k *kept) Get(_ context.Context, key string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.data[key], nil
}

func (k *kept) Put(_ context.Context, changes map[string][]byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, value := range changes {
		if value == nil {
			delete(k.data, key)
			continue
		}
		k.data[key] = append([]byte(nil), value...)
	}
	return nil
}
