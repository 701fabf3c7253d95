package zimbra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"godwit/stages/platform"
)

// account is an account as the server shows it.
type account struct {
	ID   string
	Name string
	attr map[string][]string
}

func (a *account) get(name string) string {
	if v := a.attr[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (a *account) is(name string) bool { return strings.EqualFold(a.get(name), "TRUE") }

// number is an attribute's number, 0 where it is not set.
func (a *account) number(name string) int64 {
	n, _ := strconv.ParseInt(a.get(name), 10, 64)
	return n
}

// lifetime reads a duration as Zimbra writes it: 30d, 12h, 15m, 20s, 5ms, or
// seconds without a unit. 0 means for ever.
func (a *account) lifetime(name string) time.Duration {
	s := a.get(name)
	units := []struct {
		suffix string
		unit   time.Duration
	}{{"ms", time.Millisecond}, {"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"", time.Second}}
	for _, u := range units {
		if digits, ok := strings.CutSuffix(s, u.suffix); ok {
			if n, err := strconv.ParseInt(digits, 10, 32); err == nil {
				return time.Duration(n) * u.unit
			}
		}
	}
	return 0
}

// UnmarshalJSON takes both ways in which attributes are written.
func (a *account) UnmarshalJSON(data []byte) error {
	var wire struct {
		ID    string `json:"id"`
		Name  string `json:"name"`
		Pairs []struct {
			Name    string `json:"n"`
			Content text   `json:"_content"`
		} `json:"a"`
		Attrs map[string]json.RawMessage `json:"_attrs"`
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	*a = account{ID: wire.ID, Name: wire.Name, attr: map[string][]string{}}
	for _, p := range wire.Pairs {
		a.attr[p.Name] = append(a.attr[p.Name], string(p.Content))
	}
	for name, raw := range wire.Attrs {
		var list []text
		if json.Unmarshal(raw, &list) != nil {
			list = make([]text, 1)
			_ = json.Unmarshal(raw, &list[0]) // never fails
		}
		for _, v := range list {
			a.attr[name] = append(a.attr[name], string(v))
		}
	}
	return nil
}

// found is the account in an answer: alone, or the first of a list.
type found struct{ account }

// UnmarshalJSON takes both.
func (f *found) UnmarshalJSON(data []byte) error {
	var list []account
	if json.Unmarshal(data, &list) == nil {
		if len(list) == 0 {
			return errors.New("an empty list of accounts")
		}
		f.account = list[0]
		return nil
	}
	return json.Unmarshal(data, &f.account)
}

// lookup asks for the account called name. own leaves out what comes from its
// class of service. Errors: platform.ErrNoAccount.
func (d *Driver) lookup(ctx context.Context, name string, own bool) (*account, error) {
	var answer struct {
		Account found `json:"account"`
	}
	applyCOS := 1
	if own {
		applyCOS = 0
	}
	body := map[string]any{"applyCos": applyCOS, "account": map[string]any{"by": "name", "_content": name}}
	err := d.do(ctx, "GetAccount", body, &answer, false)
	if isFault(err, "account.NO_SUCH_ACCOUNT") {
		return nil, fmt.Errorf("%w: %s", platform.ErrNoAccount, name)
	}
	if err != nil {
		return nil, err
	}
	a := answer.Account.account
	if err := mustBe(&a, name); err != nil {
		return nil, err
	}
	return &a, nil
}

// mustBe holds an answer against what was asked for: look-ups by name also find
// aliases and old addresses.
func mustBe(a *account, name string) error {
	if a.ID == "" || a.Name == "" {
		return fmt.Errorf("the server answers with no account to a question for %s", name)
	}
	if !strings.EqualFold(a.Name, name) {
		return fmt.Errorf("%w: %s is not a mailbox of its own: the server answers with the account %q; list that one, or take the alias away", platform.ErrTaken, name, printable(a.Name))
	}
	return nil
}

// modify changes attributes; "" unsets one. It returns the account as it is then.
func (d *Driver) modify(ctx context.Context, a *account, change map[string]string) (*account, error) {
	var answer struct {
		Account found `json:"account"`
	}
	if err := d.do(ctx, "ModifyAccount", map[string]any{"id": a.ID, "a": pairs(change)}, &answer, true); err != nil {
		return nil, err
	}
	now := answer.Account.account
	if now.ID != a.ID {
		return nil, fmt.Errorf("%w: ModifyAccount of %s answered with another account", platform.ErrUnknown, a.Name)
	}
	return &now, nil
}

func pairs(attrs map[string]string) []map[string]any {
	list := []map[string]any{}
	for name, value := range attrs {
		list = append(list, map[string]any{"n": name, "_content": value})
	}
	return list
}
