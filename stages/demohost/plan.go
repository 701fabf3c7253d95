package demohost

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"text/template"
)

// WritePlan writes the demo's plan into dir: plan.yaml, lists/*.csv and the
// secrets it refers to. hook is the command that reaches Hook at h.AdminSocket.
func WritePlan(dir string, h *Host, hook []string) error {
	caFile := h.CAFile
	if filepath.Dir(caFile) == filepath.Clean(dir) {
		caFile = filepath.Base(caFile)
	}
	var plan bytes.Buffer
	err := planTemplate.Execute(&plan, map[string]any{
		"source": h.SourceAddress, "target": h.TargetAddress, "smtp": h.SMTPAddress,
		"ca": caFile, "login": h.migrator.Login, "smtp_login": h.migrator.SMTPLogin, "hook": hook,
	})
	if err != nil {
		return err
	}
	for _, folder := range []string{dir, filepath.Join(dir, "lists"), filepath.Join(dir, "secrets")} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	files := map[string][]byte{
		"plan.yaml":       plan.Bytes(),
		"secrets/imap":    []byte(h.migrator.Secret),
		"secrets/smtp":    []byte(h.migrator.SMTPSecret),
		"lists/w49-a.csv": list("w49-a"),
		"lists/w49-b.csv": list("w49-b"),
	}
	for name, data := range files {
		if err := writePrivate(filepath.Join(dir, name), data); err != nil {
			return err
		}
	}
	return nil
}

// writePrivate writes a file that only we may read, also where it was wider.
func writePrivate(path string, data []byte) error {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	return os.Chmod(path, 0o600)
}

// list is the account list of a batch.
func list(batch string) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"service", "account", "contact", "name", "locale", "action", "reason", "passwords", "x_customer"})
	for _, s := range services {
		if s.batch != batch {
			continue
		}
		for _, p := range s.people {
			_ = w.Write([]string{s.name, s.address(p), s.contact, p.name, s.locale, p.action, p.reason, s.passwords, s.customer})
		}
	}
	w.Flush() // a bytes.Buffer takes everything
	return b.Bytes()
}

// json writes a value as YAML's flow style takes it.
var planTemplate = template.Must(template.New("plan").Funcs(template.FuncMap{
	"json": func(v any) (string, error) {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		err := e.Encode(v)
		return string(bytes.TrimSpace(b.Bytes())), err
	},
}).Parse(`# The demo's plan: three customers move to a new platform in one night.
version: 1
name: demo
timezone: Europe/Paris
locale: fr

source:
  region: FR
  imap: {address: {{json .source}}, ca_file: {{json .ca}}, auth: authzid, login: {{json .login}}, secret: "file:secrets/imap"}
  freeze:
    driver: exec
    command: {{json .hook}}
    timeout: 30s
    settle: 1s

targets:
  new:
    region: FR
    imap: {address: {{json .target}}, ca_file: {{json .ca}}, auth: authzid, login: {{json .login}}, secret: "file:secrets/imap"}
    admin: {driver: exec, command: {{json .hook}}}
    webmail: "https://webmail.new.example"
default_target: new

promises:
  residency: [FR]

notices:
  from: "Migration <migration@host.example>"
  smtp: {address: {{json .smtp}}, tls: implicit, ca_file: {{json .ca}}, login: {{json .smtp_login}}, secret: "file:secrets/smtp", region: FR}
  send:
    - {when: 7d before, to: [contact], template: announce}
    - {when: 1d before, to: [contact, user], template: remind}
    - {when: done, to: [contact], template: done}
  links:
    guide: "https://help.host.example/move"
    faq: "https://help.host.example/move/faq"
    offers: "https://www.host.example/offers"
    cancel: "https://www.host.example/cancel"

window: {from: "22:00", until: "05:00"}

copy:
  precopy: 3d
  catch_up: 2d
  max_message: 4MB              # one message is larger: see skipped.csv

passwords:
  mode: temporary               # the list w49-b keeps them, by its column

output: {dir: out}

batches:
  - {name: w49-a, date: 2026-12-02, accounts: lists/w49-a.csv}
  - {name: w49-b, date: 2026-12-02, accounts: lists/w49-b.csv}
`))
