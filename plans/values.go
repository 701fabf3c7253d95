package plans

import (
	"errors"
	"fmt"
	"math"
	"net/mail"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"filippo.io/age"
	"golang.org/x/text/language"
)

// kind is how a value is read from its text. says names it in messages;
// pattern and typ describe it in the JSON schema.
type kind struct {
	says    string
	parse   func(string) (any, error)
	pattern string
	typ     string // of JSON; "" is string
	hidden  bool   // the value may be a secret: messages never show it
}

// kinds are the words of the tag `kind`. Every parse error is a whole sentence
// after the key's name: `is not …; write …`.
var kinds = map[string]kind{
	"version":       {says: "1", parse: parseVersion, typ: "integer"},
	"plan-name":     {says: "name", parse: matching(`^[a-z0-9][a-z0-9-]{0,62}$`, "a name: use small letters, digits and -"), pattern: `^[a-z0-9][a-z0-9-]{0,62}$`},
	"name":          {says: "name", parse: parseName, pattern: namePattern},
	"text":          {says: "text", parse: parseText},
	"argument":      {says: "text", parse: parseText},
	"zone":          {says: "time zone", parse: parseZone},
	"locale":        {says: "language", parse: parseLocale, pattern: `^[a-z]{2,3}(-[A-Z]{2})?$`},
	"region":        {says: "region", parse: matching(`^[A-Z]{2}$`, "a region: write a country's two capital letters, such as FR"), pattern: `^[A-Z]{2}$`},
	"duration":      {says: "duration", parse: parseDuration, pattern: `^[0-9]+[smhd]$`},
	"clock":         {says: "time of day", parse: parseClock, pattern: `^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$`},
	"date":          {says: "date", parse: parseDate, pattern: `^[0-9]{4}-[0-9]{2}-[0-9]{2}$`},
	"weekday":       {says: "day of the week", parse: parseWeekday, pattern: `^(mon|tue|wed|thu|fri|sat|sun)$`},
	"count":         {says: "number", parse: parseCount, typ: "integer"},
	"size":          {says: "size", parse: parseSize, pattern: `^[0-9]+(\.[0-9]+)?([kMGT]B|[KMGT]iB|B)$`},
	"rate":          {says: "rate", parse: parseRate, pattern: `^[0-9]+(\.[0-9]+)?([kMGT]B|[KMGT]iB|B)/s$`},
	"domain":        {says: "domain", parse: parseDomain},
	"percent":       {says: "percentage", parse: parsePercent, pattern: `^[0-9]+(\.[0-9]+)?%$`},
	"endpoint":      {says: "address", parse: parseEndpoint, hidden: true},
	"url":           {says: "URL", parse: parseURL, hidden: true},
	"link":          {says: "URL", parse: parseLink, hidden: true},
	"login":         {says: "login", parse: parseText, hidden: true},
	"secret":        {says: "reference to a secret", parse: parsePlanSecret, pattern: `^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|exec:.+)$`, hidden: true},
	"hidden":        {says: "text", parse: parseText, hidden: true},
	"master-format": {says: "format", parse: parseMasterFormat},
	"mailbox":       {says: "sender", parse: parseMailbox},
	"when":          {says: "time of a notice", parse: parseWhen, pattern: `^([0-9]+d before|changed|deferred|cancelled|done|rolled-back)$`},
	"inside":        {says: "path", parse: parseInside},
	"file":          {says: "path", parse: parseFile},
	"pattern":       {says: "folder pattern", parse: parsePattern},
	"folder":        {says: "folder", parse: parseText},
	"recipient":     {says: "age public key", parse: parseRecipient, pattern: `^age1`, hidden: true},
	"delimiter":     {says: "delimiter", parse: parseDelimiter, pattern: "^[,;\t]$"},
}

var (
	wordKind = kind{says: "word", parse: parseText}
	boolKind = kind{says: "true or false", parse: parseBool, typ: "boolean"}
)

// wrong makes the error of a value: a sentence that follows the key's name.
func wrong(format string, args ...any) error { return fmt.Errorf(format, args...) }

func parseVersion(s string) (any, error) {
	if s != "1" {
		return nil, wrong("%s is not a version this godwit knows; write 1", shown(s))
	}
	return 1, nil
}

const namePattern = `^[a-z0-9][a-z0-9._-]{0,63}$`

var (
	nameMatch = regexp.MustCompile(namePattern)
	device    = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$`)
)

// parseName accepts what can name a folder on any system.
func parseName(s string) (any, error) {
	switch {
	case !nameMatch.MatchString(s):
		return nil, wrong("%s is not a name: use small letters, digits and . _ -, at most 64, beginning with a letter or digit", shown(s))
	case strings.HasSuffix(s, "."):
		return nil, wrong("%s is not a name: it ends with a dot", shown(s))
	case device.MatchString(s):
		return nil, wrong("%s is not a name: Windows keeps it for a device", shown(s))
	}
	return s, nil
}

func matching(pattern, says string) func(string) (any, error) {
	re := regexp.MustCompile(pattern)
	return func(s string) (any, error) {
		if re.MatchString(s) {
			return s, nil
		}
		if up := strings.ToUpper(s); up != s && re.MatchString(up) {
			kind, _, _ := strings.Cut(says, ":")
			return nil, wrong("%s is not %s; did you mean %q?", shown(s), kind, up)
		}
		return nil, wrong("%s is not %s", shown(s), says)
	}
}

func parseText(s string) (any, error) {
	if s == "" {
		return nil, errors.New("is empty; fill it in or take it out")
	}
	if bad, ok := control(s); ok {
		return nil, wrong("holds the control character %U", bad)
	}
	return s, nil
}

// control finds a C0, DEL or C1 character.
func control(s string) (rune, bool) {
	for _, r := range s {
		if r < 0x20 || r >= 0x7f && r <= 0x9f {
			return r, true
		}
	}
	return 0, false
}

func parseBool(s string) (any, error) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return nil, wrong("%s is not true or false", shown(s))
}

var digits = regexp.MustCompile(`^(0|[1-9][0-9]{0,9})$`)

func parseCount(s string) (any, error) {
	if !digits.MatchString(s) {
		return nil, wrong("%s is not a number; write digits only, such as 4", shown(s))
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return nil, wrong("%s is not a number of one or more", shown(s))
	}
	return n, nil
}

var (
	sizeMatch = regexp.MustCompile(`^([0-9]{1,12}(?:\.[0-9]{1,3})?) ?([kMGT]B|[KMGT]iB|B)$`)
	sizeUnits = map[string]float64{
		"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}
)

func parseSize(s string) (any, error) {
	n, ok := byteCount(s)
	if !ok {
		return nil, wrong("%s is not a size; write one such as 50MB or 64MiB", shown(s))
	}
	return n, nil
}

func parseRate(s string) (any, error) {
	n, ok := int64(0), false
	if size, found := strings.CutSuffix(s, "/s"); found {
		n, ok = byteCount(size)
	}
	if !ok {
		return nil, wrong("%s is not a rate; write one such as 50MB/s", shown(s))
	}
	return n, nil
}

func byteCount(s string) (int64, bool) {
	m := sizeMatch.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(m[1], 64)
	total := math.Round(n * sizeUnits[m[2]])
	return int64(total), err == nil && total >= 1 && total < 1<<60
}

func parsePercent(s string) (any, error) {
	number, ok := strings.CutSuffix(s, "%")
	n, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(n >= 0 && n <= 100) || strings.ContainsAny(number, "eExXpP_+-") {
		return nil, wrong("%s is not a percentage; write one from 0%% to 100%%, such as 10%%", shown(s))
	}
	return n / 100, nil
}

var localeMatch = regexp.MustCompile(`^[a-z]{2,3}(-[A-Z]{2})?$`)

func parseLocale(s string) (any, error) {
	if localeMatch.MatchString(s) {
		if _, err := language.Parse(s); err == nil {
			return s, nil
		}
	}
	if tag, err := language.Parse(s); err == nil && localeMatch.MatchString(tag.String()) {
		return nil, wrong("%s is not a language; did you mean %q?", shown(s), tag.String())
	}
	return nil, wrong("%s is not a language; write one such as fr or pt-BR", shown(s))
}

func parseMasterFormat(s string) (any, error) {
	if !strings.Contains(s, "{account}") || !strings.Contains(s, "{login}") {
		return nil, wrong(`%s needs {account} and {login}; write "{account}*{login}"`, shown(s))
	}
	return parseText(s)
}

func parseMailbox(s string) (any, error) {
	if bad, ok := control(s); ok {
		return nil, wrong("holds the control character %U", bad)
	}
	from, err := mail.ParseAddress(s)
	if err != nil {
		return nil, wrong(`%s is not a sender; write "Name <address>"`, shown(s))
	}
	if why := addressFault(from.Address); why != "" {
		return nil, wrong("%s is not an address: %s", shown(from.Address), why)
	}
	return s, nil
}

func parseInside(s string) (any, error) {
	if _, err := parseFile(s); err != nil {
		return nil, err
	}
	if filepath.IsAbs(s) {
		return nil, wrong("%s is absolute; write a path below the plan's folder", shown(s))
	}
	return filepath.Clean(s), nil
}

func parseFile(s string) (any, error) {
	if _, err := parseText(s); err != nil {
		return nil, err
	}
	if strings.Contains(s, `\`) {
		return nil, wrong(`%s has a \; write / between folders`, shown(s))
	}
	if !filepath.IsAbs(s) && !filepath.IsLocal(s) {
		return nil, wrong("%s leaves the plan's folder", shown(s))
	}
	return filepath.Clean(s), nil
}

func parsePattern(s string) (any, error) {
	if s != "" && strings.Trim(s, "*%? ") == "" {
		return nil, wrong("%s would leave out every folder; name the folders", shown(s))
	}
	return parseText(s)
}

func parseRecipient(s string) (any, error) {
	if strings.Contains(strings.ToUpper(s), "AGE-SECRET-KEY") {
		return nil, errors.New("is a secret key, which can open the lists; make a new pair and write the public key, age1…")
	}
	if _, err := age.ParseRecipients(strings.NewReader(s)); err != nil || strings.ContainsAny(s, "\n\r#") {
		return nil, errors.New("is not an age public key; write one such as age1…, from age-keygen")
	}
	return s, nil
}

func parseDelimiter(s string) (any, error) {
	switch s {
	case ",", ";", "\t":
		return rune(s[0]), nil
	case "tab":
		return '\t', nil
	}
	return nil, wrong(`%s is not a delimiter; write ",", ";" or tab`, shown(s))
}

func parsePlanSecret(s string) (any, error) {
	if path, ok := strings.CutPrefix(s, "file:"); ok && path != "" && !filepath.IsAbs(path) && !filepath.IsLocal(path) {
		return nil, errors.New("names a file outside the plan's folder; write its whole path, file:/…")
	}
	return ParseSecret(s)
}

func parseURL(s string) (any, error) {
	u, err := url.Parse(s)
	switch {
	case err == nil && u.User != nil, mayHoldSecret(s):
		return nil, errors.New("has a user or password in it; take it out")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, wrong("%s is not a URL; write one that begins with https://", shown(s))
	}
	if bad, ok := control(s); ok {
		return nil, wrong("holds the control character %U", bad)
	}
	return s, nil
}

func parseLink(s string) (any, error) {
	if address, ok := strings.CutPrefix(s, "mailto:"); ok && addressFault(address) == "" {
		return s, nil
	}
	return parseURL(s)
}
