package zimbra

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"godwit/stages/platform"
)

// Inspect looks at the target account and changes nothing. Errors:
// platform.ErrNoAccount; the facts are then those of the class of service that
// the account would get, as far as the administrator may read it.
func (d *Driver) Inspect(ctx context.Context, r platform.Request) (platform.Facts, error) {
	a, missing := d.lookup(ctx, r.TargetAccount, false)
	if errors.Is(missing, platform.ErrNoAccount) {
		var err error
		if a, err = d.asMade(ctx, r.TargetAccount); err != nil {
			return platform.Facts{}, err
		}
	} else if missing != nil {
		return platform.Facts{}, missing
	}
	limit, err := d.largest(ctx)
	if err != nil {
		return platform.Facts{}, err
	}
	facts := platform.Facts{
		Quota:    a.number("zimbraMailQuota"),
		Policy:   policy(a),
		Findings: findings(a),

		MaxMessage: limit,
	}
	if limit > 0 {
		facts.Findings = append(facts.Findings, platform.Finding{Code: "message-size", Above: limit, Text: fmt.Sprintf(
			"zimbraMtaMaxMessageSize is %d bytes, which binds IMAP too: larger messages are not carried; raise it for the days of the move", limit)})
	}
	if limit := a.number("zimbraMailDomainQuota"); limit > 0 && (facts.Quota == 0 || limit < facts.Quota) {
		facts.Quota = limit
	}
	if login := a.get("zimbraLastLogonTimestamp"); login != "" {
		facts.LastLogin, _ = time.Parse("20060102150405Z0700", login)
	}
	facts.MustChange = a.is("zimbraPasswordMustChange")
	return facts, missing
}

// asMade is what an account of that name would have from its class of service:
// the one in the plan, the domain's, or "default".
func (d *Driver) asMade(ctx context.Context, name string) (*account, error) {
	by, cos := "name", d.config.COS
	if cos == "" {
		cos = "default"
		var answer struct {
			Domain found `json:"domain"`
		}
		_, domain, _ := strings.Cut(name, "@")
		body := map[string]any{"domain": map[string]any{"by": "name", "_content": domain}}
		if err := unlessRefused(d.do(ctx, "GetDomain", body, &answer, false)); err != nil {
			return nil, err
		}
		if id := answer.Domain.get("zimbraDomainDefaultCOSId"); id != "" {
			by, cos = "id", id
		}
	}
	var answer struct {
		COS found `json:"cos"`
	}
	body := map[string]any{"cos": map[string]any{"by": by, "_content": cos}}
	err := unlessRefused(d.do(ctx, "GetCos", body, &answer, false))
	return &answer.COS.account, err
}

// largest is the size of message that the server takes, 0 if it is not ours to
// know. It is asked for once.
func (d *Driver) largest(ctx context.Context) (int64, error) {
	const attr = "zimbraMtaMaxMessageSize"
	d.asking.Lock()
	defer d.asking.Unlock()
	if d.asked {
		return d.limit, nil
	}
	var answer found
	body := map[string]any{"a": []any{map[string]any{"n": attr}}}
	if err := unlessRefused(d.do(ctx, "GetConfig", body, &answer, false)); err != nil {
		return 0, err
	}
	d.asked, d.limit = true, answer.number(attr)
	return d.limit, nil
}

// unlessRefused lets a delegated administrator go on without what it may not
// read. What is wrong with the plan is said when the account is made.
func unlessRefused(err error) error {
	if isFault(err, "service.PERM_DENIED", "account.NO_SUCH_COS", "account.NO_SUCH_DOMAIN", "service.UNKNOWN_DOCUMENT") {
		return nil
	}
	return err
}

// policy is what the account's passwords must be.
func policy(a *account) platform.Policy {
	n := func(name string) int { return int(a.number(name)) }
	return platform.Policy{
		MinLength: n("zimbraPasswordMinLength"), MaxLength: n("zimbraPasswordMaxLength"),
		MinUpper: n("zimbraPasswordMinUpperCaseChars"), MinLower: n("zimbraPasswordMinLowerCaseChars"),
		MinDigits:          max(n("zimbraPasswordMinNumericChars"), 0),
		MinSpecial:         n("zimbraPasswordMinPunctuationChars"),
		MinLetters:         n("zimbraPasswordMinAlphaChars"),
		MinDigitsOrSpecial: n("zimbraPasswordMinDigitsOrPuncs"),
		Allowed:            a.get("zimbraPasswordAllowedChars"),
		AllowedSpecial:     a.get("zimbraPasswordAllowedPunctuationChars"),
	}
}

// findings are the settings that will hurt, each with its remedy.
func findings(a *account) []platform.Finding {
	var list []platform.Finding
	add := func(code string, blocks bool, format string, args ...any) {
		list = append(list, platform.Finding{Code: code, Blocks: blocks, Text: fmt.Sprintf(format, args...)})
	}
	if status := a.get("zimbraAccountStatus"); status != "" && status != "active" {
		add("target-inactive", true, "zimbraAccountStatus is %s: nobody can sign in, Godwit neither; set it to active", printable(status))
	}
	for _, attr := range []string{"zimbraImapEnabled", "zimbraPrefImapEnabled"} {
		if v := a.get(attr); v != "" && !a.is(attr) {
			add("imap-disabled", true, "%s is FALSE: the mailbox cannot be filled, nor read by the user's client; set it to TRUE, on the account or its class of service", attr)
		}
	}
	if life := a.lifetime("zimbraMailMessageLifetime"); life > 0 {
		add("message-lifetime", true, "zimbraMailMessageLifetime is %s: the server will delete all older mail after it was copied; set it to 0 first", days(life))
	}
	for folder, attr := range map[string]string{"Trash": "zimbraMailTrashLifetime", "Junk": "zimbraMailSpamLifetime"} {
		if life := a.lifetime(attr); life > 0 {
			add("folder-lifetime", false, "%s is %s: what is copied into %s vanishes %s after the move; set it to 0, or say so", attr, days(life), folder, days(life))
		}
	}
	if a.is("zimbraPasswordLockoutEnabled") {
		add("lockout", false, "zimbraPasswordLockoutEnabled is TRUE: clients that still send the old password lock the account for %s after %d tries; switch it off for the days of the move",
			a.lifetime("zimbraPasswordLockoutDuration"), a.number("zimbraPasswordLockoutMaxFailures"))
	}
	if a.is("zimbraFeatureTwoFactorAuthRequired") || a.is("zimbraTwoFactorAuthEnabled") {
		add("two-factor", false, "the account asks for a second factor: mail clients need an application password")
	}
	return list
}

func days(d time.Duration) string {
	if d >= 24*time.Hour && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}
