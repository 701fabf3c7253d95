package mailbox

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"godwit/stages/receipt"
)

// Deviation is one way in which a mailbox is not as its receipt says.
type Deviation struct {
	Kind      string   `json:"kind"`             // one of the kinds below
	Folder    string   `json:"folder,omitempty"` // of the source, as the receipt has it; of the target, where the receipt has none
	UID       uint32   `json:"uid,omitempty"`    // at the source
	TargetUID uint32   `json:"target_uid,omitempty"`
	UIDs      []uint32 `json:"uids,omitempty"` // at the target, of extra
	Detail    string   `json:"detail,omitempty"`
}

// Kinds of deviations. A message is never changed by who reads it, but it is
// moved, deleted and flagged.
const (
	IsMissing = "missing" // nowhere in the mailbox
	IsAltered = "altered" // not the content that was verified
	IsDated   = "date"    // not the date
	IsMoved   = "moved"   // in another folder
	IsFlagged = "flags"   // other flags
	IsExtra   = "extra"   // not in the receipt
)

// Wrong says that somebody has to look: the others are what users do.
func (d Deviation) Wrong() bool {
	return d.Kind == IsMissing || d.Kind == IsAltered || d.Kind == IsDated
}

// Audited counts what an audit found.
type Audited struct {
	Messages int `json:"messages"` // of the receipt
	Right    int `json:"right"`    // whole and in their place
	Moved    int `json:"moved"`
	Missing  int `json:"missing"`
	Wrong    int `json:"wrong"` // altered, or with another date
	Flagged  int `json:"flags"`
	Extra    int `json:"extra"`
}

// audit compares a mailbox with a receipt, folder by folder.
type audit struct {
	ctx    context.Context
	lane   *lane
	tell   func(Deviation)
	out    Audited
	folder receipt.Folder
	wire   string
	open   bool // the target has the folder of the receipt
	batch  []receipt.Message
	known  spans // what the receipt has in it
	seen   map[string]bool
	others []other
	absent []absent
}

// other is a message of the target that the receipt has not there.
type other struct {
	wire, shown string
	uids        spans
}

// absent is a message of the receipt that is not in its place.
type absent struct {
	Deviation
	digest, stored string
}

// Audit reads all of a mailbox back and compares it with a receipt, which read
// hands to the visitor. It changes nothing (EXAMINE, BODY.PEEK), and calls tell
// for each deviation.
func Audit(ctx context.Context, e Endpoint, read func(receipt.Visitor) error, tell func(Deviation)) (Audited, error) {
	_, taken, err := takeSlots(ctx, need{e.Server, 1})
	if err != nil {
		return Audited{}, err
	}
	defer taken.release()
	a := &audit{ctx: ctx, lane: &lane{pass: &pass{Pass: Pass{Target: e}, ctx: ctx}}, tell: tell, seen: map[string]bool{}}
	defer func() { a.lane.dst.logout() }()
	if _, err := a.lane.target(); err != nil {
		return a.out, err
	}
	err = read(receipt.Visitor{Folder: a.begin, Message: a.message})
	if err == nil {
		err = a.end()
	}
	if err == nil {
		err = a.strangers()
	}
	if err == nil {
		err = a.find()
	}
	return a.out, err
}

// with does something with the target, again where the connection was lost.
func (a *audit) with(do func(*session) error) error {
	for try := 0; ; try++ {
		dst, err := a.lane.target()
		if err == nil {
			err = do(dst)
		}
		if err == nil || !lost(err) || errors.Is(err, ErrBusy) || try == 3 {
			return err
		}
	}
}

func (a *audit) begin(f receipt.Folder) error {
	if err := a.end(); err != nil {
		return err
	}
	wire, err := url.PathUnescape(f.TargetName)
	if err != nil {
		return fmt.Errorf("the receipt's name %q: %w", safe(f.TargetName), err)
	}
	a.folder, a.wire, a.open, a.known = f, wire, false, nil
	return a.with(func(dst *session) error {
		b, err := dst.examine(wire)
		if _, no := refused(err); no && !errors.Is(err, ErrBusy) {
			return nil // deleted or renamed: its messages may be elsewhere
		}
		a.open = err == nil && b.validity == f.TargetValidity
		a.seen[wire] = a.open
		return err
	})
}

func (a *audit) message(m receipt.Message) error {
	a.out.Messages++
	if !a.open {
		a.lost(m)
		return nil
	}
	a.known = append(a.known, span{m.TargetUID, m.TargetUID})
	if a.batch = append(a.batch, m); len(a.batch) == readBackMost {
		a.known = a.known.merge()
		return a.compare()
	}
	return nil
}

// compare reads back the messages at hand.
func (a *audit) compare() error {
	if len(a.batch) == 0 {
		return nil
	}
	var uids spans
	for _, m := range a.batch {
		uids = append(uids, span{m.TargetUID, m.TargetUID})
	}
	uids = uids.merge()
	var back map[uint32][]byte
	var metas map[uint32]meta
	err := a.with(func(dst *session) (err error) {
		if _, err = dst.opened(a.wire, false); err == nil {
			back, metas, err = dst.readBack(a.ctx, uids.take(len(a.batch)), "BODY.PEEK[]")
		}
		return err
	})
	for _, m := range a.batch {
		if err == nil {
			a.judge(m, back[m.TargetUID], metas[m.TargetUID])
		}
	}
	a.batch = a.batch[:0]
	return err
}

func (a *audit) judge(m receipt.Message, back []byte, has meta) {
	if back == nil || has.uid == 0 {
		a.lost(m)
		return
	}
	right := true
	if is := hex.EncodeToString(contentOf(back)); is != m.Digest && is != m.Stored {
		right = false
		detail := "the target gives back something else: SHA-256 " + is
		if strings.Contains(m.Found, "header") {
			detail += "; only its header was compared when it was moved"
		}
		a.say(m, IsAltered, detail)
	}
	if !m.Date.IsZero() && m.Date.Unix() != has.date && !strings.Contains(m.Found, "date") {
		right = false
		a.say(m, IsDated, fmt.Sprintf("%s in the receipt, %s at the target", m.Date.UTC().Format(time.RFC3339), has.time().UTC().Format(time.RFC3339)))
	}
	add, remove := difference(m.Flags, has.flags)
	if len(add)+len(remove) > 0 {
		a.out.Flagged++
		a.say(m, IsFlagged, strings.TrimSpace(signed("+", add)+signed("-", remove)))
	}
	if right {
		a.out.Right++
	} else {
		a.out.Wrong++
	}
}

func signed(sign string, flags []string) (out string) {
	for _, f := range flags {
		out += " " + sign + safe(f)
	}
	return out
}

func (a *audit) say(m receipt.Message, kind, detail string) { a.tell(a.deviation(m, kind, detail)) }

func (a *audit) deviation(m receipt.Message, kind, detail string) Deviation {
	return Deviation{Kind: kind, Folder: a.folder.Name, UID: m.UID, TargetUID: m.TargetUID, Detail: detail}
}

func (a *audit) lost(m receipt.Message) {
	a.absent = append(a.absent, absent{a.deviation(m, IsMissing, ""), m.Digest, m.Stored})
}

// end ends a folder: what else is in it?
func (a *audit) end() error {
	if a.folder.TargetName == "" || !a.open {
		return nil
	}
	if err := a.compare(); err != nil {
		return err
	}
	a.known = a.known.merge()
	return a.notKnown(a.wire, a.folder.Name)
}

// notKnown notes the messages of a folder that the receipt has not there.
func (a *audit) notKnown(wire, shown string) error {
	return a.with(func(dst *session) error {
		if _, err := dst.examine(wire); err != nil {
			return err
		}
		there, err := dst.listed()
		if err != nil {
			return err
		}
		var uids spans
		for _, p := range there {
			for uid := p.from; ; uid++ {
				if !a.known.has(uid) {
					uids.add(uid)
				}
				if uid == p.to {
					break
				}
			}
		}
		if len(uids) > 0 {
			a.others = append(a.others, other{wire, shown, uids})
		}
		return nil
	})
}

// strangers looks into the folders that the receipt does not have.
func (a *audit) strangers() error {
	var list []listed
	err := a.with(func(dst *session) (err error) { list, _, err = dst.folders(); return err })
	if err != nil {
		return err
	}
	a.known = nil
	for _, l := range list {
		if l.noselect || l.foreign || a.seen[l.wire] || l.told && l.box.messages == 0 {
			continue
		}
		if err := a.notKnown(l.wire, l.name()); err != nil {
			if _, no := refused(err); !no || errors.Is(err, ErrBusy) {
				return err
			}
		}
	}
	return nil
}

// find looks for what is absent among what is not known, by content, and tells
// what is left of both.
func (a *audit) find() error {
	wanted := map[string][]absent{}
	for _, m := range a.absent {
		wanted[m.digest] = append(wanted[m.digest], m)
		if m.stored != "" {
			wanted[m.stored] = append(wanted[m.stored], m)
		}
	}
	found := map[string]bool{} // folder and UID
	id := func(d Deviation) string { return fmt.Sprint(d.UID, " ", d.Folder) }
	for i, o := range a.others {
		if len(wanted) == 0 {
			break
		}
		rest := spans(nil)
		for all := o.uids; len(all) > 0; {
			uids := all.take(readBackMost)
			var back map[uint32][]byte
			err := a.with(func(dst *session) (err error) {
				if _, err = dst.opened(o.wire, false); err == nil {
					back, err = dst.digests(a.ctx, uids)
				}
				return err
			})
			if err != nil {
				return err
			}
			for _, uid := range uids {
				list := wanted[digestText(back[uid])]
				for len(list) > 0 && found[id(list[0].Deviation)] {
					list = list[1:]
				}
				if len(list) == 0 {
					rest.add(uid)
					continue
				}
				d := list[0].Deviation
				wanted[digestText(back[uid])] = list[1:]
				found[id(d)] = true
				d.Kind, d.TargetUID, d.Detail = IsMoved, uid, "to "+safe(o.shown)
				a.out.Moved++
				a.tell(d)
			}
		}
		a.others[i].uids = rest
	}
	for _, m := range a.absent {
		if !found[id(m.Deviation)] {
			a.out.Missing++
			a.tell(m.Deviation)
		}
	}
	for _, o := range a.others {
		if n := o.uids.count(); n > 0 {
			a.out.Extra += n
			a.tell(Deviation{Kind: IsExtra, Folder: o.shown, UIDs: o.uids.take(n), Detail: fmt.Sprintf("%d messages that are not in the receipt", n)})
		}
	}
	return a.ctx.Err()
}

func digestText(digest []byte) string {
	if digest == nil {
		return ""
	}
	return hex.EncodeToString(contentOf(digest))
}
