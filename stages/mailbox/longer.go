package mailbox

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// longer tells whether a message of the open folder has more than n bytes. The
// source is asked for the one that comes then: its sizes may be estimates. A
// refusal is no answer.
func (s *session) longer(uid uint32, n int64) (bool, error) {
	more := false
	_, err := s.w.do(fmt.Sprintf("UID FETCH %d (UID BODY.PEEK[]<%d.1>)", uid, n), &exchange{
		body: func(_ uint32, size int64, _ io.Reader) error { more = more || size > n; return nil }, // all of it, instead
		on: func(r *response) {
			if r.word != "FETCH" || len(r.tokens()) == 0 {
				return
			}
			list := r.tokens()[0].list
			for i := 0; i+1 < len(list); i += 2 {
				part := strings.HasPrefix(strings.ToUpper(list[i].text), "BODY[]<")
				more = more || part && !list[i+1].isNil() && list[i+1].text != ""
			}
		},
	})
	if _, no := refused(err); no && !errors.Is(err, ErrBusy) {
		return false, nil
	}
	return more, err
}

// longer asks the source, of a message of the copier's folder.
func (c *copier) longer(uid uint32, n int64) (bool, error) {
	src, err := c.lane.source()
	if err != nil {
		return false, err
	}
	if _, err := src.opened(c.job.source.wire, false); err != nil {
		return false, noMessage(err)
	}
	return src.longer(uid, n)
}
