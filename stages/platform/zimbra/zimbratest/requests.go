package zimbratest

import (
	"crypto/rand"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

func (s *Server) auth(body object) (object, error) {
	if content(body["name"]) != s.Admin {
		return nil, fault{"service.PERM_DENIED", "permission denied"}
	}
	if content(body["password"]) != s.AdminPassword {
		return nil, fault{"account.AUTH_FAILED", "authentication failed for [" + s.Admin + "]"}
	}
	token := "0_" + rand.Text()
	s.tokens[token] = 0
	return object{"authToken": []any{object{"_content": token}}, "lifetime": 43199999}, nil
}

// find looks an account up as Zimbra does: by name, alias, or id.
func (s *Server) find(by, value string) (*Account, error) {
	for _, a := range s.accounts {
		hit := by == "id" && a.ID == value || by == "name" && strings.EqualFold(a.Name, value)
		for _, alias := range a.Aliases {
			hit = hit || by == "name" && strings.EqualFold(alias, value)
		}
		if !hit {
			continue
		}
		if s.Domain != "" && !strings.HasSuffix(a.Name, "@"+s.Domain) {
			break
		}
		return a, nil
	}
	if s.Domain != "" && !strings.HasSuffix(strings.ToLower(value), "@"+s.Domain) {
		return nil, fault{"service.PERM_DENIED", "permission denied: can not access account " + value}
	}
	return nil, fault{"account.NO_SUCH_ACCOUNT", "no such account: " + value}
}

func (s *Server) getAccount(body object) (object, error) {
	selector, _ := body["account"].(object)
	a, err := s.find(content(selector["by"]), content(selector["_content"]))
	if err != nil {
		return nil, err
	}
	return object{"account": []any{s.show(a, body["applyCos"] != 0.0)}}, nil
}

func (s *Server) show(a *Account, withCOS bool) object {
	attrs := map[string]string{"userPassword": "VALUE-BLOCKED", "zimbraId": a.ID}
	if withCOS {
		for k, v := range s.COS {
			attrs[k] = v
		}
	}
	for k, v := range a.Attrs {
		attrs[k] = v
	}
	return object{"id": a.ID, "name": a.Name, "a": pairs(attrs)}
}

func (s *Server) getCOS(body object) (object, error) {
	selector, _ := body["cos"].(object)
	if which := content(selector["_content"]); which != "default" && which != "cos-default" {
		return nil, fault{"account.NO_SUCH_COS", "no such cos: " + which}
	}
	return object{"cos": []any{object{"id": "cos-default", "name": "default", "a": pairs(s.COS)}}}, nil
}

func (s *Server) getDomain(body object) (object, error) {
	selector, _ := body["domain"].(object)
	name := content(selector["_content"])
	if !slices.Contains(s.Domains, name) {
		return nil, fault{"account.NO_SUCH_DOMAIN", "no such domain: " + name}
	}
	return object{"domain": []any{object{"id": "domain-" + name, "name": name, "a": pairs(map[string]string{"zimbraDomainDefaultCOSId": "cos-default"})}}}, nil
}

// getConfig tells the server's own settings, to global administrators.
func (s *Server) getConfig() (object, error) {
	if s.Domain != "" {
		return nil, fault{"service.PERM_DENIED", "permission denied: need adequate rights on config"}
	}
	return object{"a": pairs(map[string]string{"zimbraMtaMaxMessageSize": "10240000"})}, nil
}

func pairs(attrs map[string]string) []any {
	var list []any
	for k, v := range attrs {
		list = append(list, object{"n": k, "_content": v})
	}
	return list
}

func (s *Server) effective(a *Account, attr string) string {
	if v, ok := a.Attrs[attr]; ok {
		return v
	}
	return s.COS[attr]
}

func (s *Server) createAccount(body object) (object, error) {
	name := strings.ToLower(content(body["name"]))
	if s.Domain != "" && !strings.HasSuffix(name, "@"+s.Domain) {
		return nil, fault{"service.PERM_DENIED", "permission denied: can not create " + name}
	}
	if _, domain, _ := strings.Cut(name, "@"); !slices.Contains(s.Domains, domain) {
		return nil, fault{"account.NO_SUCH_DOMAIN", "no such domain: " + name}
	}
	if _, err := s.find("name", name); err == nil {
		return nil, fault{"account.ACCOUNT_EXISTS", "email address already exists: " + name + ", at DN: uid=x"}
	}
	a := s.add(name, content(body["password"]), attributes(body))
	return object{"account": []any{s.show(a, true)}}, nil
}

func attributes(body object) map[string]string {
	out := map[string]string{}
	list, _ := body["a"].([]any)
	for _, one := range list {
		if pair, ok := one.(object); ok {
			out[content(pair["n"])] = content(pair["_content"])
		}
	}
	return out
}

func (s *Server) modifyAccount(body object) (object, error) {
	a, err := s.find("id", content(body["id"]))
	if err != nil {
		return nil, err
	}
	for attr, value := range attributes(body) {
		set(a, attr, value)
	}
	s.changed(a)
	return object{"account": []any{s.show(a, true)}}, nil
}

func (s *Server) setPassword(body object) (object, error) {
	a, err := s.find("id", content(body["id"]))
	if err != nil {
		return nil, err
	}
	password := content(body["newPassword"])
	why := s.refuses(a, password)
	if why != "" && s.Domain != "" {
		return nil, fault{"account.INVALID_PASSWORD", "invalid password: " + why}
	}
	a.Password = password
	set(a, "zimbraPasswordMustChange", "")
	s.changed(a)
	if why != "" {
		return object{"message": []any{object{"_content": "invalid password: " + why}}}, nil
	}
	return object{}, nil
}

// refuses says what of the policy a password misses, in Zimbra's order.
func (s *Server) refuses(a *Account, password string) string {
	limit := func(attr string) int {
		n, _ := strconv.Atoi(s.effective(a, attr))
		return n
	}
	var upper, lower, digit, punct int
	for _, r := range password {
		switch {
		case unicode.IsUpper(r):
			upper++
		case unicode.IsLower(r):
			lower++
		case r >= '0' && r <= '9':
			digit++
		case r > ' ' && r < 0x7f:
			punct++
		}
	}
	length := len(utf16.Encode([]rune(password)))
	for _, rule := range []struct {
		attr string
		has  int
	}{
		{"zimbraPasswordMinLength", length},
		{"zimbraPasswordMinUpperCaseChars", upper},
		{"zimbraPasswordMinLowerCaseChars", lower},
		{"zimbraPasswordMinNumericChars", digit},
		{"zimbraPasswordMinPunctuationChars", punct},
		{"zimbraPasswordMinAlphaChars", upper + lower},
		{"zimbraPasswordMinDigitsOrPuncs", digit + punct},
	} {
		if rule.has < limit(rule.attr) {
			return rule.attr
		}
	}
	if most := limit("zimbraPasswordMaxLength"); most > 0 && length > most {
		return "zimbraPasswordMaxLength"
	}
	return ""
}
