package demohost

import (
	"bufio"
	"bytes"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-message/textproto"
)

// The commands of a session on the messages of the folder it has open.

func (s *session) Poll(w *imapserver.UpdateWriter, allowExpunge bool) error {
	if s.tracker == nil {
		return nil
	}
	return s.tracker.Poll(w, allowExpunge)
}

func (s *session) Idle(w *imapserver.UpdateWriter, stop <-chan struct{}) error {
	if s.tracker == nil {
		<-stop
		return nil
	}
	return s.tracker.Idle(w, stop)
}

// picked is a message as the client counts it; at is its place now.
type picked struct {
	message
	seq uint32
	at  int
}

// pick returns the messages of set that this client knows; account.mu is held.
func (s *session) pick(set imap.NumSet) (out []picked) {
	if imap.IsSearchRes(set) {
		set = s.saved
	}
	contains := s.numbers(set)
	for i, m := range s.folder.messages {
		seq := s.tracker.EncodeSeqNum(uint32(i) + 1)
		if seq != 0 && contains(seq, m.uid) {
			out = append(out, picked{message: *m, seq: seq, at: i})
		}
	}
	return out
}

// numbers makes a test of set, in which 0 stands for "*", the last message.
func (s *session) numbers(set imap.NumSet) func(uint32, imap.UID) bool {
	var last imap.UID
	if n := len(s.folder.messages); n > 0 {
		last = s.folder.messages[n-1].uid
	}
	total := uint32(len(s.folder.messages))
	switch set := set.(type) {
	case imap.SeqSet:
		return func(seq uint32, _ imap.UID) bool {
			for _, r := range set {
				if within(r.Start, r.Stop, total, seq) {
					return true
				}
			}
			return false
		}
	case imap.UIDSet:
		return func(_ uint32, uid imap.UID) bool {
			for _, r := range set {
				if within(uint32(r.Start), uint32(r.Stop), uint32(last), uint32(uid)) {
					return true
				}
			}
			return false
		}
	}
	return func(uint32, imap.UID) bool { return false }
}

func within(start, stop, last, n uint32) bool {
	if start == 0 {
		start = last
	}
	if stop == 0 {
		stop = last
	}
	return min(start, stop) <= n && n <= max(start, stop)
}

func (s *session) Fetch(w *imapserver.FetchWriter, set imap.NumSet, o *imap.FetchOptions) error {
	if !s.readOnly && setsSeen(o) {
		err := s.change(func() error {
			for _, p := range s.pick(set) {
				s.folder.store(p.at, imap.StoreFlagsAdd, []imap.Flag{imap.FlagSeen}, nil)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	s.account.mu.Lock()
	messages := s.pick(set)
	s.account.mu.Unlock()
	for _, p := range messages { // unlocked: a slow reader holds up nobody
		if err := write(w.CreateMessage(p.seq), p.message, o); err != nil {
			return err
		}
	}
	return nil
}

func setsSeen(o *imap.FetchOptions) bool {
	for _, section := range o.BodySection {
		if !section.Peek {
			return true
		}
	}
	for _, section := range o.BinarySection {
		if !section.Peek {
			return true
		}
	}
	return false
}

func write(w *imapserver.FetchResponseWriter, m message, o *imap.FetchOptions) error {
	w.WriteUID(m.uid)
	if o.Flags {
		w.WriteFlags(m.flags)
	}
	if o.InternalDate {
		w.WriteInternalDate(m.date)
	}
	if o.RFC822Size {
		w.WriteRFC822Size(int64(len(m.body)))
	}
	if o.Envelope {
		header, _ := textproto.ReadHeader(bufio.NewReader(bytes.NewReader(m.body)))
		w.WriteEnvelope(imapserver.ExtractEnvelope(header))
	}
	if o.BodyStructure != nil {
		w.WriteBodyStructure(structure(m.body))
	}
	for _, item := range o.BodySection {
		data := section(m.body, item)
		if err := fill(w.WriteBodySection(item, int64(len(data))), data); err != nil {
			return err
		}
	}
	for _, item := range o.BinarySection {
		data := imapserver.ExtractBinarySection(bytes.NewReader(m.body), item)
		if err := fill(w.WriteBinarySection(item, int64(len(data))), data); err != nil {
			return err
		}
	}
	for _, item := range o.BinarySectionSize {
		w.WriteBinarySectionSize(item, imapserver.ExtractBinarySectionSize(bytes.NewReader(m.body), item))
	}
	return w.Close()
}

// structure tells a broken message, on which the library panics, as plain text.
func structure(body []byte) (out imap.BodyStructure) {
	defer func() {
		if recover() != nil {
			out = &imap.BodyStructureSinglePart{Type: "text", Subtype: "plain", Encoding: "8bit", Size: uint32(len(body))}
		}
	}()
	return imapserver.ExtractBodyStructure(bytes.NewReader(body))
}

func (s *session) Store(w *imapserver.FetchWriter, set imap.NumSet, flags *imap.StoreFlags, _ *imap.StoreOptions) error {
	var changed []picked
	err := s.changeOpen(func() error {
		for _, p := range s.pick(set) {
			s.folder.store(p.at, flags.Op, flags.Flags, s.tracker)
			p.message = *s.folder.messages[p.at]
			changed = append(changed, p)
		}
		return nil
	})
	if err != nil || flags.Silent {
		return err
	}
	for _, p := range changed {
		if err := write(w.CreateMessage(p.seq), p.message, &imap.FetchOptions{Flags: true}); err != nil {
			return err
		}
	}
	return nil
}

// Expunge also serves CLOSE, which removes nothing after EXAMINE.
func (s *session) Expunge(_ *imapserver.ExpungeWriter, uids *imap.UIDSet) error {
	if s.readOnly {
		return nil
	}
	return s.changeOpen(func() error {
		named := func(uint32, imap.UID) bool { return true }
		if uids != nil {
			named = s.numbers(*uids)
		}
		s.folder.remove(func(m *message) bool { return hasFlag(m.flags, imap.FlagDeleted) && named(0, m.uid) })
		return nil // the tracker tells every session, this one too
	})
}

func (s *session) Copy(set imap.NumSet, name string) (*imap.CopyData, error) {
	var data *imap.CopyData
	err := s.change(func() (err error) {
		data, err = s.copyTo(set, name)
		return err
	})
	return data, err
}

func (s *session) Move(w *imapserver.MoveWriter, set imap.NumSet, name string) error {
	return s.changeOpen(func() error {
		data, err := s.copyTo(set, name)
		if err != nil {
			return err
		}
		s.folder.remove(func(m *message) bool { return data.SourceUIDs.Contains(m.uid) })
		return w.WriteCopyData(data)
	})
}

func (s *session) copyTo(set imap.NumSet, name string) (*imap.CopyData, error) {
	to := s.account.folder(name)
	if to == nil {
		return nil, refusal(imap.ResponseCodeTryCreate, "No such folder")
	}
	data := &imap.CopyData{UIDValidity: to.validity}
	for _, p := range s.pick(set) {
		data.SourceUIDs.AddNum(p.uid)
		data.DestUIDs.AddNum(to.add(p.body, p.flags, p.date))
	}
	return data, nil
}
