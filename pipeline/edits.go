package pipeline

import "slices"

// Announced means locked: this table says of every key of a plan and every
// column of a list what an edit does to a service, by how much of its move was
// announced. Godwit cannot know an edit as such: it compares what the plan says
// with what the last notice promised (promise.go), so that an edit taken back
// in time is none.

// Meaning is what an edit does.
type Meaning string

// The meanings.
const (
	Harmless  Meaning = "harmless"       // holds from the next run on; nobody has to be told
	Again     Meaning = "announce again" // the notice "changed" goes out; where it would come too late the service is held
	Sent      Meaning = "send"           // a notice that the plan now has is sent when it is due; where it would come too late the service is held
	CalledOff Meaning = "call off"       // the notice "cancelled" goes out
	Waits     Meaning = "held"           // nothing more happens, and a person has to look
	Anew      Meaning = "begin anew"     // another ledger: there nothing was announced, and what has no time for it is held
)

// Edit is one row of the table: what an edit of any of the keys means before
// the first notice, between the first and the last before the move, after the
// last, and while an account's cutover is under way.
type Edit struct {
	What                           string   // as Change has it, "" if no notice promises it
	Keys                           []string // as `godwit schema --reference` has them; columns of the lists begin with "list."
	Before, Between, After, During Meaning
}

// Edits is the table. A cutover that has begun ends as it began, whatever the
// plan says meanwhile. A key that a batch overrides is named as the plan's.
var Edits = []Edit{
	{"date", []string{"batches[].date"}, Harmless, Again, Again, Harmless},
	{"window", []string{"window.from", "window.until"}, Harmless, Again, Again, Harmless},
	{"zone", []string{"timezone"}, Harmless, Again, Again, Harmless},
	{"interruption", []string{"window.max_interruption"}, Harmless, Again, Again, Harmless}, // longer; a shorter one keeps the promise
	{"passwords", []string{"passwords.mode", "passwords.deliver", "list.passwords"}, Harmless, Again, Again, Harmless},
	{"target", []string{"default_target", "list.target", "list.target_account"}, Harmless, Again, Again, Harmless},
	{"contact", []string{"list.contact"}, Harmless, Again, Again, Harmless},         // the new one is told all that the old one was
	{"residency", []string{"promises.residency"}, Harmless, Again, Again, Harmless}, // one more country, or none named any more

	// Another address or service is a row that is gone, which the run names, and
	// one that is new. A cutover of the first is undone by the next start.
	{"", []string{"list.account"}, Harmless, Again, Again, Waits},
	{"", []string{"list.service"}, Harmless, Sent, Sent, Waits},
	// migrate → skip. hold waits in every state; back to migrate is a new row.
	{"", []string{"list.action"}, Harmless, CalledOff, CalledOff, Harmless},
	{"", []string{"batches[].hold"}, Waits, Waits, Waits, Harmless},
	// A notice more, or more readers; one less is harmless.
	{"", []string{"notices.send", "notices.send[].when", "notices.send[].to"}, Harmless, Sent, Sent, Harmless},
	{"", []string{"name", "output.dir", "ledger"}, Harmless, Anew, Anew, Waits},

	{"", harmless, Harmless, Harmless, Harmless, Harmless},
}

// harmless keys say how Godwit works, or how something reads; no notice
// promises them.
var harmless = []string{
	"version", "locale", "rollback_for",

	"source", "source.platform", "source.region", "source.imap", "source.imap.address", "source.imap.tls", "source.imap.ca_file",
	"source.imap.auth", "source.imap.login", "source.imap.secret", "source.imap.master_format", "source.imap.max_connections",
	// The ledger keeps with each freeze how to thaw it.
	"source.freeze", "source.freeze.driver", "source.freeze.command", "source.freeze.timeout", "source.freeze.settle", "source.freeze.url",
	"source.freeze.login", "source.freeze.secret", "source.freeze.ca_file", "source.freeze.deny_file", "source.freeze.transport_map", "source.freeze.postmap", "source.freeze.route",

	"targets", "targets.NAME.platform", "targets.NAME.region", "targets.NAME.imap", "targets.NAME.imap.address", "targets.NAME.imap.tls",
	"targets.NAME.imap.ca_file", "targets.NAME.imap.auth", "targets.NAME.imap.login", "targets.NAME.imap.secret", "targets.NAME.imap.master_format",
	"targets.NAME.imap.max_connections", "targets.NAME.admin", "targets.NAME.admin.driver", "targets.NAME.admin.command", "targets.NAME.admin.timeout",
	"targets.NAME.admin.url", "targets.NAME.admin.login", "targets.NAME.admin.secret", "targets.NAME.admin.ca_file", "targets.NAME.admin.cos",
	"targets.NAME.admin.create", "targets.NAME.clients",
	"targets.NAME.webmail", // stands in the notice that it is done, too

	"domains",

	"promises", "promises.quota",
	"promises.minimum_notice", // decides what is too late

	"notices", "notices.from", "notices.smtp", "notices.smtp.address", "notices.smtp.tls", "notices.smtp.ca_file", "notices.smtp.login",
	"notices.smtp.secret", "notices.smtp.region", "notices.send[].template", "notices.links", "notices.templates",

	"window", "window.unit",
	"window.days", // the batch's own night has to be among them; deferrals heed them

	"copy", "copy.precopy", "copy.catch_up", "copy.accounts", "copy.connections", "copy.rate", "copy.max_message", "copy.max_delete",
	"copy.folders.exclude", "copy.folders.rename", "copy.verify",

	"passwords", "passwords.length", "passwords.valid_for", "passwords.encrypt_to",
	"output", "output.csv.delimiter", "output.csv.bom", "output.metrics",

	"batches", "batches[].accounts", "batches[].window", "batches[].copy", "batches[].passwords", "batches[].notices",
	"batches[].name",         // its services take with them what they were told
	"batches[].short_notice", // goes round what is too late

	"list.name", "list.locale", "list.reason", "list.source_login", "list.source_secret", "list.target_secret", "list.x_…",
}

// EditOf returns the row of a key.
func EditOf(key string) (Edit, bool) {
	i := slices.IndexFunc(Edits, func(e Edit) bool { return slices.Contains(e.Keys, key) })
	if i < 0 {
		return Edit{}, false
	}
	return Edits[i], true
}
