package mailbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Exchange makes a message anew at each fetch: what was fetched before is no
// longer what it gives. Where only the source can tell what a message is, after
// a crash or without a ledger, Message-ID, Date, From and Subject stand for it,
// beside the date of arrival. They take the place of a digest, of a length and
// a header that no message has.

var identityFields = []string{"message-id", "date", "from", "subject"}

// identities reads what stands for messages of the open folder. One without a
// Message-ID is told by its content all the same.
func (s *session) identities(ctx context.Context, uids []uint32) (map[uint32][]byte, error) {
	out := make(map[uint32][]byte, len(uids))
	for _, set := range sets(uids) {
		x := &exchange{flood: 10*int(s.box.messages) + flood, on: func(r *response) {
			if uid := uidOf(r); r.word == "FETCH" && uid != 0 {
				list := r.tokens()[0].list
				for i := 0; i+1 < len(list); i += 2 {
					if strings.HasPrefix(strings.ToUpper(list[i].text), "BODY[") {
						out[uid] = identityOf(list[i+1].text)
					}
				}
			}
		}}
		if _, err := s.w.do("UID FETCH "+set+" (UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)])", x); err != nil {
			return nil, err
		}
	}
	var bare []uint32
	for _, uid := range uids {
		if out[uid] == nil {
			bare = append(bare, uid)
		}
	}
	if len(bare) == 0 {
		return out, nil
	}
	digests, err := s.digests(ctx, bare)
	for uid, d := range digests {
		out[uid] = d
	}
	return out, err
}

// identityOf is nil for a header without a Message-ID.
func identityOf(header string) []byte {
	fields := map[string]string{}
	for _, line := range strings.Split(string(folding.ReplaceAll([]byte(header), []byte(" "))), "\n") {
		name, value, _ := strings.Cut(line, ":")
		fields[strings.ToLower(strings.TrimSpace(name))] = strings.Join(strings.Fields(value), " ")
	}
	if fields["message-id"] == "" {
		return nil
	}
	sum := sha256.New()
	for _, name := range identityFields {
		_, _ = io.WriteString(sum, strconv.Quote(fields[name])) // a hash takes everything
	}
	return sum.Sum(make([]byte, lengthSize+headSize, plainSize))
}

func isIdentity(digest []byte) bool {
	return len(digest) == plainSize && bytes.Equal(digest[:lengthSize+headSize], make([]byte, lengthSize+headSize))
}

// contentOnly is a digest to be kept: nil where it is none of the content.
func contentOnly(digest []byte) []byte {
	if isIdentity(digest) {
		return nil
	}
	return digest
}

// signs reads what stands for messages of the open folder: their digests, or
// their identities where one of the sides makes them anew.
func (s *session) signs(ctx context.Context, uids []uint32, anew bool) (map[uint32][]byte, error) {
	if anew {
		return s.identities(ctx, uids)
	}
	return s.digests(ctx, uids)
}

// anyIdentity tells whether some of the signs are identities.
func anyIdentity(signs map[uint32][]byte) bool {
	for _, d := range signs {
		if isIdentity(d) {
			return true
		}
	}
	return false
}

// likeSource marks what the target has of messages whose content only a source
// that makes them anew could tell: those with the same identity.
func (c *checking) likeSource(ctx context.Context, src *session, list []sent, unread []uint32) error {
	here, err := src.identities(ctx, unread)
	if err != nil {
		return err
	}
	dst, err := c.lane.target()
	if err != nil {
		return err
	}
	if _, err := dst.examine(c.job.st.Target); err != nil {
		return err
	}
	var targets []uint32
	for _, s := range list {
		if s.known == nil {
			targets = append(targets, s.target)
		}
	}
	slices.Sort(targets)
	there, err := dst.identities(ctx, targets)
	for i, s := range list {
		if id := here[s.source]; s.known == nil && isIdentity(id) {
			list[i].like = bytes.Equal(id, there[s.target])
		}
	}
	return err
}
