package plans

import (
	"fmt"
	"iter"
	"strings"

	"github.com/jszwec/csvutil"
)

// Service is one customer's part of a batch.
type Service struct {
	Name     string
	Contact  string
	Locale   string // of the contact: the first row's that gives one, else the plan's
	Accounts []Account
}

// Account is one row of a list, with the plan's defaults filled in.
type Account struct {
	Service       string
	Address       string // the column "account"
	Contact       string
	Name          string
	Locale        string
	Action        string // migrate | skip | hold
	Reason        string
	Passwords     string // keep | temporary
	Target        string // name of a target
	TargetAccount string // default: Address
	SourceLogin   string // default: Address
	SourceSecret  Secret
	TargetSecret  Secret
	Extra         []Field // the x_ columns, in the list's order
	Line          int
}

// Field is an x_ column: its name as written, and its value.
type Field struct{ Name, Value string }

// columns is one row as it is written; its tags name the columns there are.
type columns struct {
	Service       string `csv:"service" doc:"the customer, usually the domain; names a folder (required)"`
	Account       string `csv:"account" doc:"address of the mailbox (required)"`
	Contact       string `csv:"contact" doc:"the service's address for notices; one for all its rows"`
	Name          string `csv:"name" doc:"of the mailbox's user"`
	Locale        string `csv:"locale" doc:"of the service's notices, such as fr"`
	Action        string `csv:"action" doc:"migrate (default), skip or hold"`
	Reason        string `csv:"reason" doc:"why it is skipped; goes into the report, and where it was announced and has the word cancelled or offer, into the notice"`
	Passwords     string `csv:"passwords" doc:"keep or temporary; default: the batch's"`
	Target        string `csv:"target" doc:"name of a target; default: default_target"`
	TargetAccount string `csv:"target_account" doc:"address on the target; default: account"`
	SourceLogin   string `csv:"source_login" doc:"login at the source; default: account"`
	SourceSecret  string `csv:"source_secret" doc:"for auth: password at the source: file: below the plan, env:GODWIT_…, or the secret itself if the file is mode 0600 and not in git"`
	TargetSecret  string `csv:"target_secret" doc:"the same for the target"`
}

var columnNames = func() []string {
	all, err := csvutil.Header(columns{}, "csv")
	if err != nil {
		panic(err)
	}
	return all
}()

// trim takes blanks off where spreadsheets leave them. Secrets and x_ columns
// stay as they are.
func (c *columns) trim() {
	for _, field := range []*string{
		&c.Service, &c.Account, &c.Contact, &c.Name, &c.Locale, &c.Action, &c.Reason,
		&c.Passwords, &c.Target, &c.TargetAccount, &c.SourceLogin,
	} {
		*field = strings.Trim(*field, " ")
	}
}

// list is an account list in memory: the file's text, where each row begins,
// and the rows in the order of their services. Accounts are made from it row
// by row as they are asked for, so a million rows take little more than their
// file.
type list struct {
	batch *Batch
	plan  *Plan
	file  string // as messages name it
	text  string
	comma byte
	// header holds the columns' names, known ones in small letters.
	header   []string
	literals bool // whether a cell may be the secret itself
	rows     []row
	order    []uint32 // indices of rows, by service
	services []service
}

// row is where a row begins in the text, and its line.
type row struct{ offset, line uint32 }

// service is what a list says of one service, and where its rows end in order.
type service struct {
	name, contact, locale string
	contactLine           uint32
	line                  uint32 // of its first row
	end                   uint32
}

// Services yields the batch's services in the order of their names, each with
// its accounts in the order of the list. Rows are made as they are asked for:
// memory stays near the size of the list file.
func (b *Batch) Services() iter.Seq[Service] {
	return func(yield func(Service) bool) {
		if b.list == nil {
			return
		}
		reader := b.list.reader()
		begin := uint32(0)
		for _, s := range b.list.services {
			one := Service{Name: s.name, Contact: s.contact, Locale: s.locale, Accounts: make([]Account, 0, s.end-begin)}
			if one.Locale == "" {
				one.Locale = b.list.plan.Locale
			}
			for _, i := range b.list.order[begin:s.end] {
				one.Accounts = append(one.Accounts, b.list.account(reader, i, s))
			}
			begin = s.end
			if !yield(one) {
				return
			}
		}
	}
}

// Len is the number of the batch's accounts.
func (b *Batch) Len() int {
	if b.list == nil {
		return 0
	}
	return len(b.list.rows)
}

// account makes the account of row i, which was checked when the list was
// loaded.
func (l *list) account(reader *rowReader, i uint32, s service) Account {
	c, extra, err := reader.at(l.rows[i])
	if err != nil {
		// The text is in memory and was read before.
		panic(fmt.Sprintf("%s:%d: %v", l.file, l.rows[i].line, err))
	}
	a := Account{
		Service: c.Service, Address: c.Account, Contact: or(c.Contact, s.contact), Name: c.Name,
		Locale: or(c.Locale, or(s.locale, l.plan.Locale)),
		Action: or(c.Action, "migrate"), Reason: c.Reason,
		Passwords: or(c.Passwords, l.batch.Passwords.Mode),
		Target:    or(c.Target, l.plan.DefaultTarget), TargetAccount: or(c.TargetAccount, c.Account),
		SourceLogin: or(c.SourceLogin, c.Account),
		Extra:       extra, Line: int(l.rows[i].line),
	}
	a.SourceSecret, _ = l.secret(c.SourceSecret)
	a.TargetSecret, _ = l.secret(c.TargetSecret)
	return a
}

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
