package main

import (
	"crypto/sha256"
	"hash"
)

// settled digests a message as mailbox servers are known to store it: NUL as
// 0x80, every line end as CRLF with no CR before it nor at the very end, and
// what is not ASCII in the header as X. What has been through a server and
// what has not have the same digest.
type settled struct {
	to     hash.Hash
	crs    int  // not written yet
	line   int  // octets of the present line
	inBody bool // after the first empty line
}

func newSettled() *settled { return &settled{to: sha256.New()} }

func (s *settled) Write(text []byte) (int, error) {
	out := make([]byte, 0, len(text)+64)
	for _, b := range text {
		switch b {
		case '\r':
			s.crs++
			continue
		case '\n':
			s.inBody = s.inBody || s.line == 0
			out = append(out, "\r\n"...)
			s.crs, s.line = 0, 0
			continue
		case 0:
			b = 0x80
		}
		for ; s.crs > 0; s.crs-- {
			out = append(out, '\r')
		}
		if !s.inBody && b >= 0x80 {
			b = 'X'
		}
		s.line++
		out = append(out, b)
	}
	_, err := s.to.Write(out)
	return len(text), err
}
