package zimbra_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/stages/platform"
	"godwit/stages/platform/platformtest"
	"godwit/stages/platform/zimbra"
	"godwit/stages/platform/zimbra/zimbratest"
)

var anna = platform.Request{
	Plan: "acme", Batch: "w49-a", Service: "new.example", Account: "anna@new.example", Login: "anna@new.example",
	Target: "zimbra", TargetAccount: "anna@new.example", Name: "Anna Adam", Locale: "fr",
}

func driver(t *testing.T, s *zimbratest.Server) *zimbra.Driver {
	t.Helper()
	d, err := zimbra.New(zimbra.Config{
		URL: s.URL, Login: s.Admin, CAFile: s.CAFile, Create: true, COS: "default", Route: "smtp:[mx.new.example]:25",
		Secret:  func(context.Context) (string, error) { return s.AdminPassword, nil },
		Timeout: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func TestFreezer(t *testing.T) {
	platformtest.Freezer(t, func(t *testing.T) (platform.Freezer, platform.Request) {
		s := zimbratest.New(t)
		s.Add("anna@new.example", "old", map[string]string{"zimbraMailTransport": "lmtp:mail.new.example:7025", "zimbraNotes": "pays yearly"})
		return driver(t, s), anna
	})
}

func TestAdmin(t *testing.T) {
	servers := map[string]*zimbratest.Server{}
	platformtest.Admin(t, func(t *testing.T) (platform.Admin, platform.Request) {
		s := zimbratest.New(t)
		servers[t.Name()] = s
		return driver(t, s), anna
	}, func(t *testing.T, r platform.Request) (string, bool) {
		a, ok := servers[t.Name()].Get(r.TargetAccount)
		return a.Password, ok
	})
}

func TestAThawRestoresWhatWasThere(t *testing.T) {
	for _, old := range []string{"lmtp:mail.new.example:7025", ""} {
		for _, notes := range []string{"", "pays yearly\nsecond line"} {
			s := zimbratest.New(t)
			s.Add(anna.Account, "old", map[string]string{"zimbraMailTransport": old, "zimbraNotes": notes})
			before, _ := s.Get(anna.Account)
			d := driver(t, s)
			must(t, d.Freeze(t.Context(), anna))
			frozen, _ := s.Get(anna.Account)
			if !strings.HasPrefix(frozen.Attrs["zimbraMailTransport"], "retry:") {
				t.Errorf("frozen with transport %q; want one that defers", frozen.Attrs["zimbraMailTransport"])
			}
			must(t, d.Switch(t.Context(), anna))
			must(t, d.Thaw(t.Context(), anna)) // a rollback
			if after, _ := s.Get(anna.Account); fmt.Sprint(after.Attrs) != fmt.Sprint(before.Attrs) {
				t.Errorf("after freeze, switch and thaw: %v; want %v", after.Attrs, before.Attrs)
			}
		}
	}
}

// Whatever happens to one answer, a second try ends as if nothing had happened,
// and nobody else is touched.
func TestEveryActionSurvivesEveryFailure(t *testing.T) {
	requests := map[string][]string{
		"ensure":       {"Auth", "GetAccount", "GetCos", "CreateAccount"},
		"set_password": {"Auth", "GetAccount", "SetPassword"},
		"activate":     {"Auth", "GetAccount", "ModifyAccount"},
		"freeze":       {"Auth", "GetAccount", "ModifyAccount"},
		"thaw":         {"Auth", "GetAccount", "ModifyAccount"},
		"switch":       {"Auth", "GetAccount", "ModifyAccount"},
	}
	act := func(ctx context.Context, d *zimbra.Driver, action string) error {
		switch action {
		case "ensure":
			return d.Ensure(ctx, anna)
		case "set_password":
			return d.SetPassword(ctx, anna, "Secret-47abc")
		case "activate":
			return d.Activate(ctx, anna)
		case "freeze":
			return d.Freeze(ctx, anna)
		case "thaw":
			return d.Thaw(ctx, anna)
		}
		return d.Switch(ctx, anna)
	}
	for action, names := range requests {
		for _, name := range names {
			for _, how := range zimbratest.Failures {
				t.Run(action+" "+name+" "+string(how), func(t *testing.T) {
					s := zimbratest.New(t)
					s.Add("other@new.example", "untouched", nil)
					d := driver(t, s)
					if action != "ensure" {
						s.Add(anna.Account, "old", map[string]string{"zimbraMailTransport": "lmtp:a:7025"})
					}
					if action == "thaw" || action == "switch" {
						must(t, d.Freeze(t.Context(), anna))
						s.Expire()
					}
					s.FailNext(name, how)
					err := act(t.Context(), d, action)
					if err == nil && how != zimbratest.Stranger && how != zimbratest.Expired {
						t.Errorf("%s with %s %s: no error", action, name, how)
					}
					if err != nil && how == zimbratest.Expired {
						t.Errorf("%s with a token that ran out: %v", action, err)
					}
					if err != nil && strings.Contains(err.Error(), "Secret-47abc") {
						t.Error("the error quotes the password")
					}
					changes := name != "Auth" && !strings.HasPrefix(name, "Get")
					if changes && (how == zimbratest.Lost || how == zimbratest.Garbage) && !errors.Is(err, platform.ErrUnknown) {
						t.Errorf("got %v; want platform.ErrUnknown", err)
					}
					if how == zimbratest.Busy || how == zimbratest.Unavailable {
						if !errors.Is(err, platform.ErrLater) {
							t.Errorf("got %v; want platform.ErrLater", err)
						}
					}
					must(t, act(t.Context(), d, action))
					a, _ := s.Get(anna.Account)
					if got := a.Password; action == "set_password" && got != "Secret-47abc" {
						t.Errorf("the password is %q", got)
					}
					if o, _ := s.Get("other@new.example"); o.Password != "untouched" || len(o.Attrs) != 0 {
						t.Errorf("another account was changed: %+v", o)
					}
				})
			}
		}
	}
}

func TestATokenThatRunsOutIsRenewed(t *testing.T) {
	s := zimbratest.New(t)
	s.TokenUses = 1
	d := driver(t, s)
	must(t, d.Ensure(t.Context(), anna))
	must(t, d.SetPassword(t.Context(), anna, "Secret-47abc"))
	must(t, d.Activate(t.Context(), anna))
	if s.Calls("Auth") < 3 {
		t.Errorf("signed in %d times; want once for each use", s.Calls("Auth"))
	}
}

func TestRefusals(t *testing.T) {
	tests := map[string]struct {
		prepare func(s *zimbratest.Server)
		act     func(ctx context.Context, d *zimbra.Driver) error
		want    string
	}{
		"an alias of somebody else's mailbox is no account": {
			func(s *zimbratest.Server) { s.Add("boss@new.example", "b", nil, anna.TargetAccount) },
			func(ctx context.Context, d *zimbra.Driver) error { return d.SetPassword(ctx, anna, "Secret-47abc") },
			"not a mailbox of its own",
		},
		"a delegated administrator of another domain": {
			func(s *zimbratest.Server) { s.Domain = "else.example"; s.Add(anna.Account, "old", nil) },
			func(ctx context.Context, d *zimbra.Driver) error { return d.Activate(ctx, anna) },
			"service.PERM_DENIED",
		},
		"a password against the policy is said, though it was set": {
			func(s *zimbratest.Server) {
				s.Add(anna.Account, "old", map[string]string{"zimbraPasswordMinLength": "40"})
			},
			func(ctx context.Context, d *zimbra.Driver) error { return d.SetPassword(ctx, anna, "Secret-47abc") },
			"against the account's policy: invalid password: zimbraPasswordMinLength",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := zimbratest.New(t)
			d := driver(t, s)
			tt.prepare(s)
			err := tt.act(t.Context(), d)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("got %v; want …%s…", err, tt.want)
			}
		})
	}
}

func TestAWrongAdministratorsPasswordIsNotQuoted(t *testing.T) {
	s := zimbratest.New(t)
	d, err := zimbra.New(zimbra.Config{URL: s.URL, Login: s.Admin, CAFile: s.CAFile, Secret: func(context.Context) (string, error) { return "canary-wrong", nil }})
	must(t, err)
	if err = d.Ensure(t.Context(), anna); err == nil || !strings.Contains(err.Error(), "account.AUTH_FAILED") || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v; want …account.AUTH_FAILED… without the password", err)
	}
}

// Servers that quote a secret, or speak to the operator's terminal.
func TestWhatAServerQuotesIsHarmless(t *testing.T) {
	const secret = "canary-47abc"
	fault := func(code, reason string) string {
		return fmt.Sprintf(`{"Body":{"Fault":{"Reason":{"Text":"%s"},"Detail":{"Error":{"Code":"%s"}}}}}`, reason, code)
	}
	tests := map[string]struct{ request, answer string }{
		"in the reason of a sign-in":    {"Auth", fault("account.AUTH_FAILED", "no: "+secret)},
		"in the reason of a refusal":    {"SetPassword", fault("service.FAILURE", "not "+secret)},
		"in a code":                     {"SetPassword", fault("account."+secret, "no")},
		"where a long message is cut":   {"SetPassword", fmt.Sprintf(`{"Body":{"SetPasswordResponse":{"message":%q}}}`, strings.Repeat("x", 293)+secret)},
		"a code that moves the cursor":  {"GetAccount", fault(`x\u001b[2Jy`, "no")},
		"a reason that turns the line":  {"GetAccount", fault("x", "evil \u202e txt\u200b")},
		"a code that does not end soon": {"GetAccount", fault(strings.Repeat("x", 1<<20), "no")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := zimbratest.New(t)
			s.Add(anna.Account, "old", nil)
			s.AdminPassword = secret
			s.AnswerNext(tt.request, tt.answer)
			err := driver(t, s).SetPassword(t.Context(), anna, secret)
			if err == nil {
				t.Fatal("no error")
			}
			text := err.Error()
			if strings.Contains(text, secret[:7]) || strings.ContainsAny(text, "\x1b\u202e\u200b") || len(text) > 2000 {
				t.Errorf("got %.3000q", text)
			}
		})
	}
}

func TestInspect(t *testing.T) {
	s := zimbratest.New(t)
	s.COS["zimbraMailTrashLifetime"] = "30d"
	s.Add(anna.Account, "old", map[string]string{
		"zimbraMailQuota": "1000", "zimbraMailMessageLifetime": "90d", "zimbraImapEnabled": "FALSE",
		"zimbraPasswordLockoutEnabled": "TRUE", "zimbraPasswordLockoutDuration": "1h", "zimbraPasswordLockoutMaxFailures": "10",
		"zimbraPasswordMinUpperCaseChars": "2", "zimbraAccountStatus": "locked", "zimbraLastLogonTimestamp": "20261101103000Z",
	})
	facts, err := driver(t, s).Inspect(t.Context(), anna)
	must(t, err)
	got := map[string]bool{}
	for _, f := range facts.Findings {
		got[f.Code] = f.Blocks
	}
	want := map[string]bool{"target-inactive": true, "imap-disabled": true, "message-lifetime": true, "folder-lifetime": false, "lockout": false, "message-size": false}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("found %v; want %v", got, want)
	}
	if facts.Quota != 1000 || facts.Policy.MinUpper != 2 || facts.Policy.MinLength != 6 || facts.LastLogin.Day() != 1 {
		t.Errorf("facts: %+v", facts)
	}
	if n := s.Calls("ModifyAccount") + s.Calls("CreateAccount") + s.Calls("SetPassword"); n != 0 {
		t.Errorf("inspecting changed something: %d calls", n)
	}
	if facts.MaxMessage != 10240000 {
		t.Errorf("the largest message is %d", facts.MaxMessage)
	}
}

// Every setting that hurts is found, whether it is the account's own or its
// class of service's, with what to do about it; and also for an account that is
// yet to be made.
func TestEverySettingThatHurtsIsFoundWithItsRemedy(t *testing.T) {
	tests := map[string]struct {
		attr, value string
		code        string
		blocks      bool
		remedy      string
	}{
		"message lifetime":       {"zimbraMailMessageLifetime", "90d", "message-lifetime", true, "90 days: the server will delete all older mail after it was copied; set it to 0 first"},
		"trash lifetime":         {"zimbraMailTrashLifetime", "30d", "folder-lifetime", false, "copied into Trash vanishes 30 days after the move; set it to 0"},
		"junk lifetime":          {"zimbraMailSpamLifetime", "720h", "folder-lifetime", false, "copied into Junk vanishes 30 days after the move; set it to 0"},
		"lockout by old clients": {"zimbraPasswordLockoutEnabled", "TRUE", "lockout", false, "switch it off for the days of the move"},
		"IMAP switched off":      {"zimbraImapEnabled", "FALSE", "imap-disabled", true, "set it to TRUE, on the account or its class of service"},
		"IMAP off by preference": {"zimbraPrefImapEnabled", "FALSE", "imap-disabled", true, "set it to TRUE"},
		"not active":             {"zimbraAccountStatus", "maintenance", "target-inactive", true, "set it to active"},
		"a second factor":        {"zimbraFeatureTwoFactorAuthRequired", "TRUE", "two-factor", false, "application password"},
	}
	for name, tt := range tests {
		for where, prepare := range map[string]func(s *zimbratest.Server){
			"its own":             func(s *zimbratest.Server) { s.Add(anna.Account, "old", map[string]string{tt.attr: tt.value}) },
			"its class":           func(s *zimbratest.Server) { s.COS[tt.attr] = tt.value; s.Add(anna.Account, "old", nil) },
			"yet to be made":      func(s *zimbratest.Server) { s.COS[tt.attr] = tt.value },
			"in a domain of ours": func(s *zimbratest.Server) { s.Domain = "new.example"; s.COS[tt.attr] = tt.value },
		} {
			t.Run(name+", "+where, func(t *testing.T) {
				s := zimbratest.New(t)
				prepare(s)
				facts, err := driver(t, s).Inspect(t.Context(), anna)
				if _, made := s.Get(anna.Account); errors.Is(err, platform.ErrNoAccount) == made || made && err != nil {
					t.Fatalf("made: %v; got %v", made, err)
				}
				var found []platform.Finding
				for _, f := range facts.Findings {
					if f.Code != "message-size" {
						found = append(found, f)
					}
				}
				if len(found) != 1 || found[0].Code != tt.code || found[0].Blocks != tt.blocks || !strings.Contains(found[0].Text, tt.attr) && tt.code != "two-factor" || !strings.Contains(found[0].Text, tt.remedy) {
					t.Errorf("got %+v; want %s: …%s…", found, tt.code, tt.remedy)
				}
				if told := facts.MaxMessage > 0; told != (s.Domain == "") {
					t.Errorf("the largest message is %d: that is the server's own and not a domain's to read", facts.MaxMessage)
				}
			})
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
