// Package plans reads what a hoster writes: the migration plan (YAML) and its
// account lists (CSV).
//
// Every key of a plan is a field below, and its tags are all there is to know
// about it: `yaml` its name (a dot opens a mapping), `kind` how its value is
// read and checked (values.go), `enum` the words it may be, `default`, `doc`,
// `required`, and `inert` for keys, or words ending in "!", that are known but
// have no effect in this version. The decoder, the JSON schema and the
// reference of keys all read these tags; checks that need two keys stand in
// checks.go.
package plans

import (
	"os"
	"time"
)

// Plan is one migration programme, checked and with every default filled in.
type Plan struct {
	Version       int                `yaml:"version" kind:"version" required:"yes" doc:"format of this file: 1"`
	Name          string             `yaml:"name" kind:"plan-name" required:"yes" doc:"names the ledger; small letters, digits and -"`
	Timezone      *time.Location     `yaml:"timezone" kind:"zone" default:"UTC" doc:"dates and times of day in this file are local to it"`
	Locale        string             `yaml:"locale" kind:"locale" default:"en" doc:"language of notices where the account list gives none"`
	Source        Source             `yaml:"source" required:"yes" doc:"the platform to leave"`
	Targets       map[string]*Target `yaml:"targets" kind:"name" required:"yes" doc:"the platforms to move to, by a name of your choice"`
	DefaultTarget string             `yaml:"default_target" kind:"name" doc:"target of accounts that name none; may be left out where there is one target"`
	Promises      Promises           `yaml:"promises" doc:"checked by validate, stated in notices, proved in reports"`
	Notices       Notices            `yaml:"notices" doc:"what customers are told, and when; without it nothing is promised"` // a batch has its own, already overridden
	Window        Window             `yaml:"window" doc:"when cutovers may happen"`
	RollbackFor   time.Duration      `yaml:"rollback_for" kind:"duration" default:"3d" doc:"how long after the switch \"godwit rollback\" can put a service back"`
	Copy          Copy               `yaml:"copy" doc:"how mail is copied"`
	Passwords     Passwords          `yaml:"passwords" doc:"whether users get new passwords"`
	Output        Output             `yaml:"output" doc:"what is written for people"`
	Ledger        string             `yaml:"ledger" kind:"hidden" inert:"yes" doc:"a postgres:// URL or a reference to one; so far the ledger is the SQLite file in output.dir"`
	Batches       []*Batch           `yaml:"batches" required:"yes" doc:"one night's accounts each"`

	Domains map[string][]string `yaml:"domains" kind:"domain" doc:"by service, the mail domains that its rows may name on either side; * for any, and for the services not named here. Left out: those of its own accounts, where Godwit can open or change what is not theirs"`

	File     string   // as the user named it
	Dir      string   // its folder: lists, templates and output are below it
	Root     *os.Root // Dir, opened: nothing relative leaves it
	Digest   string   // of the contents of plan and lists
	Revision string   // git commit of the plan ("+dirty" if so), else "sha256:" and 12 digits
}

// Source is the platform to leave.
type Source struct {
	Platform string `yaml:"platform" enum:"imap dovecot cyrus courier exchange zimbra gmail!" default:"imap" doc:"known quirks; a server that tells what it is goes before"`
	Region   string `yaml:"region" kind:"region" doc:"where the data lies, two letters"`
	IMAP     IMAP   `yaml:"imap" required:"yes" doc:"how its mail is read"`
	Freeze   Driver `yaml:"freeze" role:"freeze" doc:"how delivery to an account is stopped for its cutover"` // Name: none | exec | dovecot | zimbra
}

// Target is a platform to move to.
type Target struct {
	Name     string
	Platform string   `yaml:"platform" enum:"imap dovecot cyrus courier zimbra exchange! gmail!" default:"imap" doc:"known quirks; a server that tells what it is goes before"`
	Region   string   `yaml:"region" kind:"region" doc:"where the data lies, two letters"`
	IMAP     IMAP     `yaml:"imap" required:"yes" doc:"how its mail is written"`
	Admin    Driver   `yaml:"admin" role:"admin" doc:"how its accounts and passwords are managed"` // Name: none | exec | list | zimbra
	Webmail  string   `yaml:"webmail" kind:"url" doc:"where users read mail in a browser; stands in notices and lists"`
	Clients  []string `yaml:"clients" kind:"endpoint" doc:"what users' clients have configured, host or host:port (993): after the switch greeting and certificate there must fit the target"` // host:port
}

// IMAP is how a mail server is reached and how Godwit signs in there.
type IMAP struct {
	Address        string `yaml:"address" kind:"endpoint" required:"yes" doc:"host or host:port; without a port 993, or 143 unless tls is implicit"` // host:port, the port filled in
	TLS            string `yaml:"tls" enum:"implicit starttls none" default:"implicit" doc:"none must be said, and every report says so too"`
	CAFile         string `yaml:"ca_file" kind:"file" doc:"PEM file of a private CA"` // absolute, "" for the system's
	Auth           string `yaml:"auth" enum:"password master authzid xoauth2" default:"password" doc:"password: each account's own from the list; the others: one login for all"`
	Login          string `yaml:"login" kind:"login" doc:"for master and authzid"`
	Secret         Secret `yaml:"secret" kind:"secret" doc:"env:NAME, file:PATH or exec:COMMAND; never the secret itself"`
	MasterFormat   string `yaml:"master_format" kind:"master-format" default:"{account}*{login}" doc:"what is sent as login with auth: master"`
	MaxConnections int    `yaml:"max_connections" kind:"count" max:"10000" doc:"to this server, all accounts together; no limit if left out"` // 0: no limit
}

// Driver is the administrator's side of a server, or the freeze of a source.
type Driver struct {
	Name    string        `yaml:"driver" freeze:"none exec dovecot zimbra" admin:"none exec list zimbra" default:"none" doc:"exec runs your own program"`
	Command []string      `yaml:"command" kind:"argument" doc:"program and arguments, for exec; no shell"` // argv; [0] made absolute when it has a slash
	Timeout time.Duration `yaml:"timeout" kind:"duration" min:"1s" default:"30s" doc:"for one call"`
	Settle  time.Duration `yaml:"settle" only:"freeze" kind:"duration" default:"1s" doc:"the source must be quiet for this long before the final pass"`

	URL          string   `yaml:"url" kind:"url" doc:"of the platform's admin interface"`
	Login        string   `yaml:"login" kind:"login" doc:"of the administrator"`
	Secret       Secret   `yaml:"secret" kind:"secret" doc:"of the administrator"`
	CAFile       string   `yaml:"ca_file" kind:"file" doc:"PEM file of a private CA"`
	DenyFile     string   `yaml:"deny_file" only:"freeze" kind:"file" doc:"dovecot: the file of a passdb with deny = yes, where Godwit lists who is refused"` // absolute
	TransportMap string   `yaml:"transport_map" only:"freeze" kind:"file" doc:"dovecot: a Postfix map for Godwit alone, in which it holds delivery back"`     // absolute, "" for none
	Postmap      []string `yaml:"postmap" only:"freeze" kind:"argument" doc:"dovecot: what compiles transport_map; left out: /usr/sbin/postmap and the map"`
	Route        string   `yaml:"route" only:"freeze" kind:"text" doc:"dovecot, zimbra: where mail goes after the switch, as a Postfix transport: smtp:[mx.new.example]:25"`
	COS          string   `yaml:"cos" only:"admin" kind:"text" doc:"zimbra: class of service of new accounts"`
	Create       bool     `yaml:"create" only:"admin" default:"false" doc:"zimbra: make accounts that do not exist"`
}

// Promises are what customers were promised.
type Promises struct {
	Residency     []string              `yaml:"residency" kind:"region" doc:"every endpoint's region must be listed"`
	Quota         string                `yaml:"quota" enum:"keep" doc:"keep: target quota must hold what the source holds"`                                                                         // "" | keep
	MinimumNotice map[int]time.Duration `yaml:"minimum_notice" kind:"duration" default:"7d: 5d, 1d: 12h, others half" doc:"the shortest lead that still keeps each notice; less holds the service"` // N of "Nd before" -> shortest lead that still keeps it
}

// Notices are what customers are told, and when.
type Notices struct {
	From      string            `yaml:"from" kind:"mailbox" doc:"sender: Name <address>"` // as written: Name <address>
	SMTP      SMTP              `yaml:"smtp" doc:"the relay that notices go through"`
	Send      []Notice          `yaml:"send" doc:"the notices, one a line"`
	Links     map[string]string `yaml:"links" names:"guide faq offers cancel" kind:"link" doc:"pages that notices link to"`
	Templates string            `yaml:"templates" kind:"inside" doc:"folder of files that replace the built-in texts by name"` // relative to Dir; "" for none
}

// SMTP is the relay that notices go through.
type SMTP struct {
	Address string `yaml:"address" kind:"endpoint" doc:"host or host:port; without a port 465, or 587 unless tls is implicit"`
	TLS     string `yaml:"tls" enum:"implicit starttls none" default:"implicit" doc:"none must be said, and every report says so too"`
	CAFile  string `yaml:"ca_file" kind:"file" doc:"PEM file of a private CA"`
	Login   string `yaml:"login" kind:"login" doc:"left out: no sign-in"`
	Secret  Secret `yaml:"secret" kind:"secret" doc:"env:NAME, file:PATH or exec:COMMAND; never the secret itself"`
	Region  string `yaml:"region" kind:"region" doc:"where the relay stands, two letters"`
}

// Notice is one line of notices.send.
type Notice struct {
	When     string   `yaml:"when" kind:"when" required:"yes" doc:"Nd before, changed, deferred, cancelled, done or rolled-back"` // "7d before" | changed | deferred | cancelled | done | rolled-back
	Days     int      // N of "Nd before"; -1 for the events
	To       []string `yaml:"to" enum:"contact user" default:"contact" doc:"the service's contact, each mailbox's user"`                                                                                             // contact, user
	Template string   `yaml:"template" enum:"announce remind changed deferred cancelled done rolled-back" doc:"which text; left out: that of the event, announce for the first notice before the move, else remind"` // announce remind changed deferred cancelled done rolled-back
}

// Window says when cutovers may happen.
type Window struct {
	From            time.Duration  `yaml:"from" kind:"clock" default:"00:00" doc:"time of day on the batch's date"`                                  // since midnight
	Until           time.Duration  `yaml:"until" kind:"clock" default:"24:00" doc:"time of day; not after from: it ends on the next day"`            // Until <= From: it ends on the next day
	Days            []time.Weekday `yaml:"days" kind:"weekday" doc:"on which a night may begin: mon to sun; every day if left out"`                  // nil: every day
	MaxInterruption time.Duration  `yaml:"max_interruption" kind:"duration" min:"1m" default:"30m" doc:"longer than this and the cutover is undone"` // per account
	Unit            string         `yaml:"unit" enum:"account service" default:"account" doc:"what switches together"`                               // account | service
}

// Copy says how mail is copied.
type Copy struct {
	Precopy     time.Duration     `yaml:"precopy" kind:"duration" default:"3d" doc:"passes over the live mailbox start this long before the window"`
	CatchUp     time.Duration     `yaml:"catch_up" kind:"duration" default:"3d" doc:"passes after the cutover; copy only, never delete"`
	Accounts    int               `yaml:"accounts" kind:"count" max:"1000" default:"4" doc:"copied at once"`
	Connections int               `yaml:"connections" kind:"count" max:"100" default:"2" doc:"at most, per account and side; a small mailbox beside others takes one"`
	Rate        int64             `yaml:"rate" kind:"rate" doc:"cap for all together; none if left out"`                                                        // bytes per second, 0: no cap
	MaxMessage  int64             `yaml:"max_message" kind:"size" doc:"larger ones are named in the report; left out: what the target takes"`                   // bytes, 0: what the target takes
	MaxDelete   float64           `yaml:"max_delete" kind:"percent" default:"10%" doc:"more deletions than this in one folder wait for a person"`               // 0.10 is 10%
	Exclude     []string          `yaml:"folders.exclude" kind:"pattern" doc:"folders to leave out; * stands for any text; never a bare *"`                     // as at the source
	Rename      map[string]string `yaml:"folders.rename" kind:"folder" doc:"folders that get another name on the target"`                                       // source -> target
	Verify      string            `yaml:"verify" enum:"headers content" default:"content" doc:"content: digest of what the target gives back for each message"` // headers | content
}

// Passwords says whether users get new ones.
type Passwords struct {
	Mode      string        `yaml:"mode" enum:"keep temporary" default:"keep" doc:"temporary: each account gets a new one, to be changed at first login"` // keep | temporary
	Length    int           `yaml:"length" kind:"count" min:"12" max:"128" default:"16" doc:"of temporary passwords"`
	Deliver   string        `yaml:"deliver" enum:"before after" default:"before" doc:"before: the list is written with the last notice before the move"` // before | after
	ValidFor  time.Duration `yaml:"valid_for" kind:"duration" min:"1d" default:"30d" doc:"stated in the list"`
	EncryptTo []string      `yaml:"encrypt_to" kind:"recipient" doc:"age public keys; lists are then age files"`
}

// Output says where files for people go, and how customers' spreadsheets want
// them.
type Output struct {
	Dir       string `yaml:"dir" kind:"inside" default:"out" doc:"folder below the plan's"` // relative to Plan.Dir
	Delimiter rune   `yaml:"csv.delimiter" kind:"delimiter" default:"," doc:"of CSV files: , or ; or tab"`
	BOM       bool   `yaml:"csv.bom" default:"false" doc:"whether CSV files begin with a byte order mark"`
	Metrics   string `yaml:"metrics" kind:"inside" inert:"yes" doc:"file of figures for Prometheus"`
}

// Batch is one night's accounts; Window, Copy, Passwords and Notices are the
// plan's with this batch's overrides applied.
type Batch struct {
	Name        string    `yaml:"name" kind:"name" required:"yes" doc:"names a folder of the output"`
	Date        time.Time `yaml:"date" kind:"date" required:"yes" doc:"the night that begins on this date"` // midnight in the plan's zone, of the night's first day
	Accounts    string    `yaml:"accounts" kind:"inside" required:"yes" doc:"its account list, a CSV file below the plan's folder"`
	Hold        bool      `yaml:"hold" default:"false" doc:"true: nothing but validate"`
	ShortNotice bool      `yaml:"short_notice" default:"false" doc:"true: this batch moves although its notices come too late; reports say so"`
	Window      Window    `yaml:"window" override:"yes" doc:"overrides the plan's, key by key"`
	Copy        Copy      `yaml:"copy" override:"yes" doc:"overrides the plan's, key by key"`
	Passwords   Passwords `yaml:"passwords" override:"yes" doc:"overrides the plan's, key by key"`
	Notices     Notices   `yaml:"notices" override:"yes" doc:"overrides the plan's, key by key"`

	list *list
}
