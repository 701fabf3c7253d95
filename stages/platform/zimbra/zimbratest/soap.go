package zimbratest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// object is a JSON object.
type object = map[string]any

// fault ends a request with a code.
type fault struct{ code, text string }

func (f fault) Error() string { return f.code }

// ServeHTTP answers one request as Zimbra does: HTTP 500 for every fault, and
// text/javascript.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	var envelope struct {
		Header struct {
			Context struct {
				AuthToken string `json:"authToken"`
			} `json:"context"`
		}
		Body map[string]object
	}
	if err != nil || json.Unmarshal(data, &envelope) != nil || len(envelope.Body) != 1 || r.Header.Get("Cookie") != "" {
		answer(w, http.StatusInternalServerError, faultBody(fault{"service.PARSE_ERROR", "parse error"}))
		return
	}
	for request, body := range envelope.Body {
		s.serve(w, strings.TrimSuffix(request, "Request"), envelope.Header.Context.AuthToken, body)
	}
}

func (s *Server) serve(w http.ResponseWriter, name, token string, body object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	how := s.failAt[len(s.log)]
	s.log = append(s.log, name)
	if list := s.failures[name]; len(list) > 0 {
		how, s.failures[name] = list[0], list[1:]
	}
	if !s.before(w, how) {
		return
	}
	if body, ok := s.answers[name]; ok {
		delete(s.answers, name)
		_, _ = io.WriteString(w, body)
		return
	}
	out, err := s.do(name, token, body)
	switch how {
	case Lost:
		panic(http.ErrAbortHandler)
	case Garbage:
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>Proxy error</html>")
		return
	case Stranger:
		if err == nil {
			out = object{"account": s.show(&Account{ID: "id-other", Name: "other@new.example"}, true), "cos": object{"id": "x", "name": "x"}}
		}
	}
	if err != nil {
		f := fault{"service.FAILURE", err.Error()}
		errors.As(err, &f)
		answer(w, http.StatusInternalServerError, faultBody(f))
		return
	}
	out["_jsns"] = "urn:zimbraAdmin"
	answer(w, http.StatusOK, object{name + "Response": out})
}

// before plays the failures that leave the request undone.
func (s *Server) before(w http.ResponseWriter, how Failure) bool {
	switch how {
	case Dropped:
		panic(http.ErrAbortHandler)
	case Unavailable:
		answer(w, http.StatusInternalServerError, faultBody(fault{"service.TEMPORARILY_UNAVAILABLE", "try later"}))
	case Broken:
		answer(w, http.StatusInternalServerError, faultBody(fault{"service.FAILURE", "system failure: null"}))
	case Busy:
		w.WriteHeader(http.StatusServiceUnavailable)
	case Expired:
		clear(s.tokens)
		return true
	case Endless:
		_, _ = io.WriteString(w, `{"Body":{"x":"`)
		for range 6 << 10 {
			if _, err := io.WriteString(w, strings.Repeat("a", 1<<10)); err != nil {
				break
			}
		}
	case Deep:
		_, _ = io.WriteString(w, strings.Repeat(`{"Body":`, 5000))
	default:
		return true
	}
	return false
}

func answer(w http.ResponseWriter, status int, body object) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	http.SetCookie(w, &http.Cookie{Name: "ZM_ADMIN_AUTH_TOKEN", Value: "stale"}) // who keeps it is refused
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(object{"Header": object{"context": object{"_jsns": "urn:zimbra"}}, "Body": body, "_jsns": "urn:zimbraSoap"})
}

func faultBody(f fault) object {
	return object{"Fault": object{
		"Code":   object{"Value": "soap:Sender"},
		"Reason": object{"Text": f.text},
		"Detail": object{"Error": object{"Code": f.code, "Trace": "qtp:1", "_jsns": "urn:zimbra"}},
	}}
}

func (s *Server) do(name, token string, body object) (object, error) {
	if name == "Auth" {
		return s.auth(body)
	}
	if err := s.use(token); err != nil {
		return nil, err
	}
	switch name {
	case "GetAccount":
		return s.getAccount(body)
	case "CreateAccount":
		return s.createAccount(body)
	case "ModifyAccount":
		return s.modifyAccount(body)
	case "SetPassword":
		return s.setPassword(body)
	case "GetCos":
		return s.getCOS(body)
	case "GetDomain":
		return s.getDomain(body)
	case "GetConfig":
		return s.getConfig()
	}
	return nil, fault{"service.UNKNOWN_DOCUMENT", "unknown document: " + name}
}

func (s *Server) use(token string) error {
	uses, ok := s.tokens[token]
	switch {
	case token == "":
		return fault{"service.AUTH_REQUIRED", "no valid authtoken present"}
	case !ok, s.TokenUses > 0 && uses >= s.TokenUses:
		return fault{"service.AUTH_EXPIRED", "auth credentials have expired"}
	}
	s.tokens[token]++
	return nil
}

// content reads text as an attribute or a child.
func content(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case object:
		return fmt.Sprint(v["_content"])
	}
	return ""
}
