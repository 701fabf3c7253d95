package imaptest

import "bytes"

// A server that offers BINARY (RFC 3516) refuses NUL and bare line ends in a
// message, unless it comes as a literal8, and gives NUL back as one: as Cyrus
// does.

// refusesPlain tells whether an APPEND brings as a plain literal what the server
// takes only as a literal8.
func (v *session) refusesPlain(m *Moment) bool {
	if m.Verb != "APPEND" || !v.s.has("BINARY") {
		return false
	}
	for _, msg := range m.Messages {
		lines := bytes.Count(msg.Body, []byte("\r\n"))
		if bytes.IndexByte(msg.Body, 0) >= 0 || bytes.Count(msg.Body, []byte("\n")) > lines {
			return true
		}
	}
	return false
}

// asLiteral8 turns the literal of a BODY[] with NUL into a literal8.
func (v *session) asLiteral8(fetched string, body []byte) string {
	if !v.s.has("BINARY") || bytes.IndexByte(body, 0) < 0 {
		return fetched
	}
	return string(bytes.Replace([]byte(fetched), []byte("BODY[] {"), []byte("BODY[] ~{"), 1))
}

// Literal8Faults are the faults of a target that takes a literal8.
func Literal8Faults() []Fault {
	stores := func(change func(body []byte) []byte) func(*Moment) {
		return func(m *Moment) {
			for _, msg := range m.Messages {
				msg.Body = change(msg.Body)
			}
		}
	}
	return []Fault{
		{Name: "literal8 is unknown", On: "APPEND8", Early: refusing("BAD", "that is no literal")},
		{Name: "literal8 is refused", On: "APPEND8", Before: refusing("NO", "[UNKNOWN-CTE] cannot store binary data")},
		{Name: "literal8 is done before the message", On: "APPEND8", Once: 1, Early: text("[APPENDUID 7 7] done")},
		{Name: "literal8 ends the connection before the message", On: "APPEND8", Early: func(m *Moment) { m.HangUp(0) }},
		{Name: "literal8 ends the connection in the message", On: "APPEND8", Early: func(m *Moment) { m.Drop = true }},
		{Name: "literal8 ends the connection behind the message", On: "APPEND8", Before: skip, After: cut(0)},
		{Name: "literal8 is cut in the message once", On: "APPEND8", Once: 1, Early: func(m *Moment) { m.Drop = true }},
		{Name: "literal8 stalls once", On: "APPEND8", Once: 1, Early: func(m *Moment) { m.Stall = true }},
		{Name: "literal8's answer is lost", On: "APPEND8", Once: 1, After: cut(0)},
		{Name: "each literal8's answer is lost", On: "APPEND8", After: cut(0)},
		{Name: "literal8 says BYE", On: "APPEND8", Once: 1, Before: skip, After: bye("[UNAVAILABLE] see you")},
		{Name: "literal8 is busy", On: "APPEND8", Once: 1, Before: refusing("NO", "[INUSE] locked")},
		{Name: "literal8 is over quota", On: "APPEND8", Once: 1, Before: refusing("NO", "[OVERQUOTA] full")},
		{Name: "literal8 says OK and stores nothing", On: "APPEND8", Once: 1, Lies: true, Before: skip},
		{Name: "literal8 is stored with 0x80 for NUL", On: "APPEND8", Before: stores(func(body []byte) []byte {
			return bytes.ReplaceAll(body, []byte{0}, []byte{0x80})
		})},
		{Name: "literal8 is stored without NUL", On: "APPEND8", Once: 1, Lies: true, Before: stores(func(body []byte) []byte {
			return bytes.ReplaceAll(body, []byte{0}, nil)
		})},
		{Name: "literal8 is stored up to NUL", On: "APPEND8", Once: 1, Lies: true, Before: stores(func(body []byte) []byte {
			body, _, _ = bytes.Cut(body, []byte{0})
			return body
		})},
	}
}
