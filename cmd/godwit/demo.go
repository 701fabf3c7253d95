package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/pipeline"
	"godwit/plans"
	"godwit/stages/demohost"
)

func demoCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "demo", Short: "Run an example programme against servers in memory", Args: cobra.NoArgs,
		Long: `Runs the example programme from the announcement to catch-up: three services in
three languages, fourteen accounts, on a pretend hoster in memory, by a clock
that jumps from day to day. The files stay in DIR to be looked at.`,
		RunE: func(c *cobra.Command, _ []string) error {
			return demo(c.Context(), c.OutOrStdout(), dir)
		},
	}
	c.Flags().StringVar(&dir, "dir", "demo", "where the demo's files go; a new or empty folder, or one of an earlier demo")
	return c
}

// hookCommand is the program that the demo's plan names as its drivers.
func hookCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo-hook SOCKET", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if code := demohost.Hook(c.Context(), args[0], c.InOrStdin(), c.OutOrStdout()); code != 0 {
				return exit{code, errors.New("")}
			}
			return nil
		},
	}
}

// moment is one of the demo's nights: what people do before it, and the run.
type moment struct {
	at, title string
	before    func(*demohost.Host) error
}

var moments = []moment{
	{"2026-11-25T03:00", "one week before: everything is checked, each customer is told", nil},
	{"2026-11-30T03:00", "two nights before: the first pass over the live mailboxes", nil},
	{"2026-12-01T03:00", "one day before: reminders to customers and users, and the password lists", arrivals},
	{"2026-12-02T22:05", "the night: freeze, final pass, verify, credentials, switch", people},
	{"2026-12-02T23:00", "a second run the same night: nothing is left to do", nil},
	{"2026-12-03T12:00", "the day after: a pass for stragglers", nil},
}

func demo(ctx context.Context, out io.Writer, dir string) (err error) {
	if err := fresh(dir); err != nil {
		return exit{exitWrong, err}
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return err
	}
	host, err := demohost.Start(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	if err := host.Fill(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// Through a shell: the plan can still be read when "go run" has taken the
	// program away, and with umask 002 the program is one that no driver may be.
	driver := []string{"/bin/sh", "-c", `exec "$0" "$@"`, self, "demo-hook", host.AdminSocket}
	if err := demohost.WritePlan(dir, host, driver); err != nil {
		return err
	}
	logFile, err := os.OpenFile(filepath.Join(dir, "run.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logFile.Close()) }()
	fmt.Fprintf(out, "Three services with fourteen accounts move on the night of 2026-12-02. The plan: %s\n", filepath.Join(dir, "plan.yaml"))
	for _, m := range moments {
		if err := m.play(ctx, out, dir, host, slog.New(slog.NewTextHandler(logFile, nil))); err != nil {
			return err
		}
	}
	return errors.Join(saveMails(dir, host), farewell(out, dir, host))
}

// fresh makes dir, or clears what an earlier demo left there; it never touches
// anything else.
func fresh(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return os.MkdirAll(dir, 0o700)
	}
	if err != nil || len(entries) == 0 {
		return err
	}
	plan, err := os.ReadFile(filepath.Join(dir, "plan.yaml"))
	if err != nil || !strings.Contains(string(plan), "\nname: demo\n") {
		return fmt.Errorf("%s is not empty and holds no demo: name another folder with --dir", dir)
	}
	for _, name := range []string{"out", "mails", "lists", "secrets", "plan.yaml", "run.log", "ca.pem"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// play makes one run at the moment's time and tells what came of it.
func (m moment) play(ctx context.Context, out io.Writer, dir string, host *demohost.Host, log *slog.Logger) error {
	fmt.Fprintf(out, "\n%s  %s\n", strings.Replace(m.at, "T", " ", 1), m.title)
	if m.before != nil {
		if err := m.before(host); err != nil {
			return err
		}
	}
	plan, clock, err := planAt(filepath.Join(dir, "plan.yaml"), m.at)
	if err != nil {
		return err
	}
	known := len(host.Mails())
	began := time.Now()
	if err := run(ctx, plan, clock, true, "", nil, log, io.Discard); err != nil {
		return err
	}
	counts := map[string]int{}
	subjects, err := look(ctx, plan)
	if err != nil {
		return err
	}
	for s := range subjects {
		for _, a := range s.Service.Accounts {
			counts[pipeline.Status(a, s.Accounts[a.Address], s.State)]++
		}
	}
	for _, sent := range host.Mails()[known:] {
		fmt.Fprintf(out, "    mail to %-38s %s\n", sent.To, subject(sent.Data))
	}
	fmt.Fprintf(out, "    %s, in %.1f s\n", sum(counts), time.Since(began).Seconds())
	return nil
}

func subject(data []byte) string {
	m, err := mail.ReadMessage(strings.NewReader(string(data)))
	if err != nil {
		return "?"
	}
	text, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		return m.Header.Get("Subject")
	}
	return text
}

// arrivals: mail comes in while the mailboxes are copied.
func arrivals(host *demohost.Host) error {
	for _, address := range host.Addresses(demohost.Source) {
		if err := host.Deliver(address, letter(address, "Between two passes")); err != nil {
			return err
		}
	}
	return nil
}

// people use their mailboxes until the last minute: they read, move, delete.
func people(host *demohost.Host) error {
	for _, address := range host.Addresses(demohost.Source) {
		if err := host.Deliver(address, letter(address, "An hour before the move")); err != nil {
			return err
		}
		mails, err := host.Mailbox(demohost.Source, address)
		if err != nil {
			return err
		}
		inbox := mails[:0]
		for _, m := range mails {
			if m.Folder == "INBOX" {
				inbox = append(inbox, m)
			}
		}
		if len(inbox) < 3 {
			continue
		}
		if err := errors.Join(
			host.SetFlags(address, "INBOX", inbox[0].UID, `\Seen`, `\Flagged`),
			host.Delete(address, "INBOX", inbox[1].UID)); err != nil {
			return err
		}
	}
	return nil
}

func letter(to, title string) demohost.Message {
	body := fmt.Sprintf("From: Demo <demo@elsewhere.example>\r\nTo: <%s>\r\nSubject: %s\r\nMessage-ID: <%s.%s>\r\nDate: Tue, 01 Dec 2026 10:00:00 +0100\r\n\r\nSee you on the other side.\r\n",
		to, title, strings.ReplaceAll(title, " ", "-"), to)
	return demohost.Message{Folder: "INBOX", Body: []byte(body), Date: time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)}
}

// saveMails leaves the notices to be read.
func saveMails(dir string, host *demohost.Host) error {
	folder := filepath.Join(dir, "mails")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for i, m := range host.Mails() {
		name := fmt.Sprintf("%03d %s.eml", i+1, m.To)
		if err := os.WriteFile(filepath.Join(folder, name), m.Data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// farewell compares both sides and says where to look.
func farewell(out io.Writer, dir string, host *demohost.Host) error {
	plan, err := plans.Load(filepath.Join(dir, "plan.yaml"))
	if err != nil {
		return err
	}
	moved, messages, named := 0, 0, 0
	for _, b := range plan.Batches {
		for s := range b.Services() {
			for _, a := range s.Accounts {
				if a.Action != "migrate" {
					continue
				}
				n, large, err := same(host, a.Address, b.Copy.MaxMessage)
				if err != nil {
					return err
				}
				moved, messages, named = moved+1, messages+n, named+large
			}
		}
	}
	fmt.Fprintf(out, "\n%d mailboxes with %d messages are the same on both sides, byte for byte; %d more, larger than the plan allows, stand in skipped.csv\n", moved, messages, named)
	fmt.Fprintf(out, "commands that would have changed the source: %d; look at:\n", host.MutationCount())
	for _, name := range []string{"out/w49-a/report.csv", "out/w49-a/skipped.csv", "out/w49-a/acme.example/report.csv", "out/w49-a/acme.example/passwords.csv", "mails", "run.log"} {
		fmt.Fprintf(out, "    %s\n", filepath.Join(dir, name))
	}
	return nil
}

// same compares what a user has on both sides, folder names aside: messages up
// to limit have to be there, larger ones not. It counts both.
func same(host *demohost.Host, address string, limit int64) (moved, large int, err error) {
	count := map[string]int{}
	from, err := host.Mailbox(demohost.Source, address)
	if err != nil {
		return 0, 0, err
	}
	to, err := host.Mailbox(demohost.Target, address)
	if err != nil {
		return 0, 0, err
	}
	key := func(m demohost.Message) string { return fmt.Sprint(m.Date.Unix(), len(m.Body), string(m.Body)) }
	for _, m := range from {
		if int64(len(m.Body)) > limit {
			large++
			continue
		}
		count[key(m)]++
	}
	for _, m := range to {
		count[key(m)]--
	}
	for _, n := range count {
		if n != 0 {
			return 0, 0, fmt.Errorf("%s differs between source and target: please report this", address)
		}
	}
	return len(to), large, nil
}
