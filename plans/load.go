package plans

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"

	"gopkg.in/yaml.v3"
)

const (
	planLimit  = 1 << 20
	depthLimit = 20
)

// Load reads and checks the plan in file and every list it names. The error
// holds every Problem found, in file order (a *multierror.Error).
func Load(file string) (*Plan, error) {
	d := &decoder{
		problems: &problems{},
		file:     file,
		plan:     &Plan{File: file, Dir: filepath.Dir(file)},
		at:       map[string]*yaml.Node{},
		bad:      map[string]bool{},
	}
	data, ok := d.read(file)
	if !ok {
		return nil, d.err()
	}
	if err := d.open(); err != nil {
		d.add(Pos{File: file}, "its folder cannot be opened: %s", cause(err))
		return nil, d.err()
	}
	if !d.load(data) {
		_ = d.plan.Close() // only read from
		return nil, d.err()
	}
	return d.plan, nil
}

// Close gives the plan's folder back. A plan that lives as long as the program
// need not be closed.
func (p *Plan) Close() error {
	if p.Root == nil {
		return nil
	}
	return p.Root.Close()
}

// open opens the plan's folder.
func (d *decoder) open() (err error) {
	if d.plan.Dir, err = filepath.Abs(d.plan.Dir); err != nil {
		return err
	}
	d.plan.Root, err = os.OpenRoot(d.plan.Dir)
	return err
}

// load is everything between the plan's bytes and a plan without a problem.
func (d *decoder) load(data []byte) bool {
	document := d.parse(data)
	if document == nil {
		return false
	}
	d.forbidden(document, 0)
	setDefaults(reflect.ValueOf(d.plan).Elem(), planKeys().keys)
	d.value(document, planKeys(), reflect.ValueOf(d.plan).Elem(), "")
	d.check()
	digest := newDigest(data)
	d.loadLists(digest)
	if d.err() != nil {
		return false
	}
	d.plan.Digest = hex.EncodeToString(digest.Sum(nil))
	d.plan.Revision = revision(d.plan, digest)
	return true
}

// read takes the plan's bytes, if they can be a plan at all.
func (d *decoder) read(file string) ([]byte, bool) {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		d.add(Pos{File: file}, "no such file")
	case err != nil:
		d.add(Pos{File: file}, "cannot be read: %s", cause(err))
	case info.IsDir():
		d.add(Pos{File: file}, "is a folder; name the plan file in it")
	case !info.Mode().IsRegular():
		d.add(Pos{File: file}, "is not a regular file")
	}
	if d.err() != nil {
		return nil, false
	}
	f, err := os.Open(file)
	if err != nil {
		d.add(Pos{File: file}, "cannot be read: %s", cause(err))
		return nil, false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, planLimit+1))
	if err != nil {
		d.add(Pos{File: file}, "cannot be read: %s", cause(err))
		return nil, false
	}
	if len(data) > planLimit {
		d.add(Pos{File: file}, "is larger than 1 MiB; a plan is at most that, accounts belong into lists")
		return nil, false
	}
	line, why := badBytes(string(data))
	if why == "" {
		line, why = badControl(string(data))
	}
	if why != "" {
		d.add(Pos{File: file, Line: line}, "%s", why)
		return nil, false
	}
	return data, true
}

// parse makes the YAML tree of the one document there may be.
func (d *decoder) parse(data []byte) *yaml.Node {
	reader := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decodeNode(reader, &document); {
	case errors.Is(err, io.EOF), err == nil && (len(document.Content) == 0 || isNull(document.Content[0])):
		d.add(Pos{d.file, 1, 1}, "the plan is empty; `godwit init DIR` writes one to start from")
		return nil
	case err != nil:
		d.syntax(data, err)
		return nil
	}
	switch err := decodeNode(reader, &second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.syntax(data, err)
		return nil
	default:
		d.add(d.pos(&second), "a second document begins here; a plan is one document, take the --- out")
	}
	return document.Content[0]
}

// decodeNode turns a panic of the library on odd input into an error.
func decodeNode(reader *yaml.Decoder, into *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("yaml: it cannot be read")
		}
	}()
	return reader.Decode(into)
}

// forbidden reports what YAML can and a plan need not: anchors, aliases, merge
// keys, tags, depth. Nothing is expanded here or anywhere.
func (d *decoder) forbidden(n *yaml.Node, depth int) {
	if depth > depthLimit {
		d.add(d.pos(n), "nested deeper than %d levels; a plan needs no more than 6", depthLimit)
		return
	}
	switch {
	case n.Kind == yaml.AliasNode:
		d.add(d.pos(n), "an alias (*) is not allowed in a plan; write the value itself, defaults and per-batch overrides save repeating it")
		return
	case n.Anchor != "":
		d.add(d.pos(n), "an anchor (&) is not allowed in a plan; defaults and per-batch overrides save repeating a value")
	case n.Style&yaml.TaggedStyle != 0:
		d.add(d.pos(n), "a tag (!) is not allowed in a plan; put text that begins with ! in quotes")
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!merge":
		d.add(d.pos(n), "a merge key (<<) is not allowed in a plan; defaults and per-batch overrides save repeating a value")
	}
	for _, below := range n.Content {
		d.forbidden(below, depth+1)
	}
}
