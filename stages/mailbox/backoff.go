package mailbox

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"time"
)

// Exchange says how long it wants to be left alone: "Request is throttled.
// Suggested Backoff Time: 29988 milliseconds".
var suggested = regexp.MustCompile(`(?i)suggested backoff time: *([0-9]{1,7})`)

const (
	longestBackoff = 10 * time.Minute
	mostBackoffs   = 5 // in one pass: then somebody else may try
)

// backoff is the time that a server asks for; 0 where it asks for none.
func backoff(err error) time.Duration {
	if !errors.Is(err, ErrBusy) {
		return 0
	}
	m := suggested.FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1]) // at most seven digits
	return min(time.Duration(n)*time.Millisecond, longestBackoff)
}

// patient does it again after the time that a server asks for. Nothing is open
// meanwhile: all that was said to it has ended.
func patient(ctx context.Context, do func() error) error {
	for try := 0; ; try++ {
		err := do()
		wait := backoff(err)
		if wait <= 0 || try == mostBackoffs {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// after is what two runs of one pass did, and what the second found.
func (res Result) after(before Result) Result {
	res.Copied += before.Copied
	res.AlreadyThere += before.AlreadyThere
	res.Updated += before.Updated
	res.Moved += before.Moved
	res.Renamed += before.Renamed
	res.Deleted += before.Deleted
	return res
}
