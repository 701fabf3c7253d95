package mailbox

import "strings"

// storage asks what INBOX may hold and holds, in bytes (RFC 9208); a server
// without an answer has no limit that it tells.
func (s *session) storage() (quota, used int64, err error) {
	if !s.has("QUOTA") {
		return 0, 0, nil
	}
	_, err = s.w.do(`GETQUOTAROOT "INBOX"`, &exchange{on: func(resp *response) {
		t := resp.tokens()
		if resp.word != "QUOTA" || len(t) < 2 {
			return
		}
		list := t[len(t)-1].list
		for i := 0; i+2 < len(list); i += 3 {
			if strings.EqualFold(list[i].text, "STORAGE") {
				limit := int64(min(list[i+2].number(), 1<<50)) * 1024
				if limit > 0 && (quota == 0 || limit < quota) {
					quota, used = limit, int64(min(list[i+1].number(), 1<<50))*1024
				}
			}
		}
	}})
	if _, no := refused(err); no {
		return 0, 0, nil
	}
	return quota, used, err
}

// full tells whether a message of size bytes is more than the target's quota
// leaves room for. Usage is told in whole KiB, rounded down by some.
func (c *copier) full(size int64) (bool, error) {
	dst, err := c.target()
	if err != nil {
		return false, err
	}
	quota, used, err := dst.storage()
	return quota > 0 && used+1024+size > quota, err
}
