package mailer

import (
	"bytes"
	"errors"
	"fmt"
	"net/mail"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-ical"
)

const longestLine = 75 // octets, RFC 5545, 3.1

// invite writes the interruption as a calendar part (RFC 6047, 2.4). It asks
// for no answer and blocks no time.
func invite(m Message, from, to *mail.Address) (part, error) {
	i := m.Invite
	for name, value := range map[string]string{"uid": i.UID, "summary": i.Summary} {
		if value == "" {
			return part{}, errors.New("no " + name)
		}
		if err := plain(value); err != nil {
			return part{}, fmt.Errorf("%s %.60q: %w", name, value, err)
		}
	}
	if !i.End.After(i.Start) || i.Sequence < 0 {
		return part{}, errors.New("ends before it begins, or has a negative sequence")
	}
	method, status := "REQUEST", ical.EventConfirmed
	if i.Cancelled {
		method, status = "CANCEL", ical.EventCancelled
	}

	event := ical.NewEvent()
	event.Props.SetText(ical.PropUID, i.UID)
	event.Props.SetDateTime(ical.PropDateTimeStamp, m.Date.UTC())
	event.Props.SetDateTime(ical.PropDateTimeStart, i.Start.UTC())
	event.Props.SetDateTime(ical.PropDateTimeEnd, i.End.UTC())
	event.Props.SetText(ical.PropSummary, i.Summary)
	event.Props.SetText(ical.PropTransparency, "TRANSPARENT")
	event.SetStatus(status)
	sequence := ical.NewProp(ical.PropSequence)
	sequence.Value = strconv.Itoa(i.Sequence)
	event.Props.Set(sequence)

	organizer := person(ical.PropOrganizer, from)
	event.Props.Set(organizer)
	attendee := person(ical.PropAttendee, to)
	attendee.Params.Set("RSVP", "FALSE")
	event.Props.Set(attendee)

	calendar := ical.NewCalendar()
	calendar.Props.SetText(ical.PropProductID, "-//Godwit//Notices//EN")
	calendar.Props.SetText(ical.PropVersion, "2.0")
	calendar.Props.SetText(ical.PropMethod, method)
	calendar.Children = append(calendar.Children, event.Component)

	var raw bytes.Buffer
	if err := ical.NewEncoder(&raw).Encode(calendar); err != nil {
		return part{}, err
	}
	return part{kind: "text/calendar", params: map[string]string{"method": method}, body: fold(raw.String())}, nil
}

func person(name string, a *mail.Address) *ical.Prop {
	prop := ical.NewProp(name)
	prop.Value = "mailto:" + a.Address
	if a.Name != "" {
		// A parameter cannot hold a double quote (RFC 5545, 3.2).
		prop.Params.Set("CN", strings.ReplaceAll(a.Name, `"`, "'"))
	}
	return prop
}

// fold breaks long lines between characters, which go-ical leaves to us.
func fold(calendar string) []byte {
	var out bytes.Buffer
	for line := range strings.SplitSeq(strings.TrimSuffix(calendar, "\r\n"), "\r\n") {
		width := 0
		for len(line) > 0 {
			_, size := utf8.DecodeRuneInString(line)
			if width+size > longestLine {
				out.WriteString("\r\n ")
				width = 1
			}
			out.WriteString(line[:size])
			line, width = line[size:], width+size
		}
		out.WriteString("\r\n")
	}
	return out.Bytes()
}
