package plans

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

var serviceMatch = regexp.MustCompile(`^[a-z0-9_-][a-z0-9._-]{0,63}$`)

func (c *rowChecker) serviceName(line uint32, name string) bool {
	low := strings.ToLower(name)
	switch {
	case name == "":
		c.at(line, "column service is empty; name the customer's service, usually the domain")
	case serviceMatch.MatchString(name):
		switch {
		case strings.HasSuffix(name, "."):
			c.at(line, "service %s ends with a dot; it names a folder", shown(name))
		case device.MatchString(name):
			c.at(line, "service %s is a name that Windows keeps for a device; it names a folder", shown(name))
		case reserved(name):
			c.at(line, "service %s is the name of a file in the output folder; choose another", shown(name))
		default:
			return true
		}
	case serviceMatch.MatchString(low):
		c.at(line, "service %s has capitals; did you mean %q?", shown(name), low)
	default:
		c.at(line, "service %s is not a name: use small letters, digits and . _ -, at most 64, without a leading dot", shown(name))
	}
	return false
}

// service counts the row to its service and compares what both say.
func (c *rowChecker) service(line uint32, r *columns) uint32 {
	l := c.list
	id, ok := c.ids[r.Service]
	if !ok {
		id = uint32(len(l.services))
		l.services = append(l.services, service{name: r.Service, line: line})
		c.ids[r.Service] = id
	}
	s := &l.services[id]
	switch {
	case r.Contact == "":
	case s.contact == "":
		s.contact, s.contactLine = r.Contact, line
	case s.contact != r.Contact && foldAddress(s.contact) != foldAddress(r.Contact):
		c.at(line, "service %s has the contact %s here and %s on line %d; it can have one", shown(s.name), shown(r.Contact), shown(s.contact), s.contactLine)
	}
	if s.locale == "" { // the contact's; users may each have their own
		s.locale = r.Locale
	}
	s.end++ // a count, until arrange
	return id
}

// arrange puts the rows in the order of their services and checks the services
// as a whole.
func (c *rowChecker) arrange() {
	l := c.list
	by := make([]uint32, len(l.services)) // ids in the order of names
	for i := range by {
		by[i] = uint32(i)
	}
	slices.SortFunc(by, func(a, b uint32) int { return cmp.Compare(l.services[a].name, l.services[b].name) })
	next := make([]uint32, len(l.services))
	sum := uint32(0)
	for _, id := range by {
		next[id] = sum
		sum += l.services[id].end
	}
	l.order = make([]uint32, len(l.rows))
	for i, id := range c.id {
		l.order[next[id]] = uint32(i)
		next[id]++
	}
	c.strangers()
	services := make([]service, 0, len(by))
	for _, id := range by {
		s := l.services[id]
		s.end = next[id]
		services = append(services, s)
		if len(l.batch.Notices.Send) > 0 && s.contact == "" && c.has["contact"] {
			c.at(s.line, "service %s has no contact, but notices are sent; fill in the column contact on one of its rows", shown(s.name))
		}
		c.across.service(c.decoder, l, s)
	}
	l.services = services
}
