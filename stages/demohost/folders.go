package demohost

import (
	"io"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
)

// The folder commands of a session.

func (s *session) Select(name string, options *imap.SelectOptions) (*imap.SelectData, error) {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	f := s.account.folder(name)
	if f == nil {
		return nil, errNoFolder
	}
	s.folder, s.tracker, s.readOnly = f, f.tracker.NewSession(), options.ReadOnly
	data := &imap.SelectData{
		Flags:       []imap.Flag{imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagSeen, imap.FlagDraft},
		NumMessages: uint32(len(f.messages)),
		UIDNext:     f.next,
		UIDValidity: f.validity,
	}
	for i, m := range f.messages {
		for _, flag := range m.flags {
			if !hasFlag(data.Flags, flag) {
				data.Flags = append(data.Flags, flag)
			}
		}
		if data.FirstUnseenSeqNum == 0 && !hasFlag(m.flags, imap.FlagSeen) {
			data.FirstUnseenSeqNum = uint32(i) + 1
		}
	}
	if !s.readOnly {
		data.PermanentFlags = append(slices.Clone(data.Flags), imap.FlagWildcard)
	}
	return data, nil
}

func (s *session) Unselect() error {
	s.tracker.Close()
	s.folder, s.tracker, s.saved = nil, nil, nil
	return nil
}

func (s *session) Create(name string, options *imap.CreateOptions) error {
	return s.change(func() error {
		name = strings.TrimRight(name, string(delimiter))
		if name == "" {
			return refusal(imap.ResponseCodeCannot, "A folder needs a name")
		}
		if s.account.folder(name) != nil {
			return refusal(imap.ResponseCodeAlreadyExists, "The folder exists")
		}
		s.account.create(name, options.SpecialUse)
		return nil
	})
}

func (s *session) Delete(name string) error {
	return s.change(func() error {
		f := s.account.folder(name)
		if f == nil {
			return errNoFolder
		}
		if f.name == "INBOX" {
			return refusal(imap.ResponseCodeCannot, "INBOX stays")
		}
		delete(s.account.folders, f.name)
		return nil
	})
}

func (s *session) Rename(old, name string, _ *imap.RenameOptions) error {
	return s.change(func() error { return s.account.rename(old, strings.TrimRight(name, string(delimiter))) })
}

// rename moves a folder with all below it.
func (a *account) rename(old, name string) error {
	switch {
	case a.folders[old] == nil:
		return errNoFolder
	case a.folder(name) != nil:
		return refusal(imap.ResponseCodeAlreadyExists, "The folder exists")
	case old == "INBOX" || strings.HasPrefix(name, old+string(delimiter)):
		return refusal(imap.ResponseCodeCannot, "This folder cannot be renamed so")
	}
	if i := strings.LastIndexByte(name, delimiter); i > 0 {
		a.create(name[:i], nil)
	}
	for _, was := range a.names() {
		if was == old || strings.HasPrefix(was, old+string(delimiter)) {
			f := a.folders[was]
			delete(a.folders, was)
			f.name = name + strings.TrimPrefix(was, old)
			a.folders[f.name] = f
		}
	}
	return nil
}

func (s *session) Subscribe(name string) error   { return s.subscribe(name, true) }
func (s *session) Unsubscribe(name string) error { return s.subscribe(name, false) }

func (s *session) subscribe(name string, on bool) error {
	return s.change(func() error {
		f := s.account.folder(name)
		if f == nil {
			return errNoFolder
		}
		f.subscribed = on
		return nil
	})
}

func (s *session) List(w *imapserver.ListWriter, ref string, patterns []string, options *imap.ListOptions) error {
	if len(patterns) == 0 {
		return w.WriteList(&imap.ListData{Attrs: []imap.MailboxAttr{imap.MailboxAttrNoSelect}, Delim: delimiter})
	}
	for _, data := range s.account.list(ref, patterns, options) {
		if err := w.WriteList(&data); err != nil {
			return err
		}
	}
	return nil
}

func (a *account) list(ref string, patterns []string, o *imap.ListOptions) (out []imap.ListData) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range a.names() {
		f := a.folders[name]
		matches := slices.ContainsFunc(patterns, func(p string) bool { return imapserver.MatchList(name, delimiter, ref, p) })
		if !matches || o.SelectSubscribed && !f.subscribed || o.SelectSpecialUse && len(f.use) == 0 {
			continue
		}
		data := imap.ListData{Mailbox: name, Delim: delimiter, Attrs: slices.Clone(f.use)}
		if f.subscribed {
			data.Attrs = append(data.Attrs, imap.MailboxAttrSubscribed)
		}
		if a.hasChildren(name) {
			data.Attrs = append(data.Attrs, imap.MailboxAttrHasChildren)
		} else {
			data.Attrs = append(data.Attrs, imap.MailboxAttrHasNoChildren)
		}
		if o.ReturnStatus != nil {
			data.Status = f.status(o.ReturnStatus)
		}
		out = append(out, data)
	}
	return out
}

func (s *session) Status(name string, options *imap.StatusOptions) (*imap.StatusData, error) {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	f := s.account.folder(name)
	if f == nil {
		return nil, errNoFolder
	}
	return f.status(options), nil
}

func (s *session) Namespace() (*imap.NamespaceData, error) {
	return &imap.NamespaceData{Personal: []imap.NamespaceDescriptor{{Delim: delimiter}}}, nil
}

func (s *session) Append(name string, r imap.LiteralReader, options *imap.AppendOptions) (*imap.AppendData, error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if int64(len(body)) != r.Size() {
		return nil, io.ErrUnexpectedEOF // the connection was cut: nothing is stored
	}
	var data *imap.AppendData
	err = s.change(func() error {
		f := s.account.folder(name)
		if f == nil {
			return refusal(imap.ResponseCodeTryCreate, "No such folder")
		}
		data = &imap.AppendData{UIDValidity: f.validity, UID: f.add(body, options.Flags, options.Time)}
		return nil
	})
	return data, err
}
