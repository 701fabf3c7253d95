package plans

import (
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// decoder walks a YAML tree along the keys and fills the plan. It goes on
// after a problem, so that all are found at once.
type decoder struct {
	*problems
	file string
	plan *Plan
	at   map[string]*yaml.Node // path of a key -> its value, as in batches[0].date
	bad  map[string]bool       // values that were refused
}

func (d *decoder) pos(n *yaml.Node) Pos { return Pos{d.file, n.Line, n.Column} }

// refuse reports what is wrong with the value at path.
func (d *decoder) refuse(n *yaml.Node, path, format string, args ...any) {
	d.bad[path] = true
	d.add(d.pos(n), format, args...)
}

// value reads what stands behind k into v.
func (d *decoder) value(n *yaml.Node, k *key, v reflect.Value, path string) {
	d.at[path] = n
	switch {
	case n.Kind == yaml.AliasNode:
		d.bad[path] = true // reported by forbidden
	case k.shape != scalar && isNull(n):
		d.refuse(n, path, "%s has nothing behind it; fill it in or take it out", k.name)
	case k.shape == mapping:
		d.mapping(n, k, v, path)
	case k.shape == named && k.keys != nil:
		d.namedMappings(n, k, v, path)
	case k.shape == named:
		d.namedValues(n, k, v, path)
	case k.shape == sequence:
		d.list(n, k, v, path)
	default:
		if value, ok := d.scalar(n, k, path); ok {
			v.Set(reflect.ValueOf(value).Convert(v.Type()))
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// pair is a key and its value, as written.
type pair struct{ key, value *yaml.Node }

// pairs lists a mapping's keys; doubled ones are reported and left out.
func (d *decoder) pairs(n *yaml.Node) []pair {
	var all []pair
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		if name.Kind != yaml.ScalarNode {
			if name.Kind != yaml.AliasNode {
				d.add(d.pos(name), "a key must be a word")
			}
			continue
		}
		if name.ShortTag() == "!!merge" {
			continue // reported by forbidden
		}
		if line, ok := first[name.Value]; ok {
			d.add(d.pos(name), "key %s is given twice, first on line %d", shown(name.Value), line)
			continue
		}
		first[name.Value] = name.Line
		all = append(all, pair{name, n.Content[i+1]})
	}
	return all
}

func (d *decoder) mapping(n *yaml.Node, k *key, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.refuse(n, path, "%s needs keys below it: %s", k.name, strings.Join(names(k.keys), ", "))
		return
	}
	var last []func()
	given := map[string]bool{}
	for _, p := range d.pairs(n) {
		known := find(k.keys, p.key.Value)
		if known == nil {
			d.add(d.pos(p.key), "unknown key %s%s", shown(p.key.Value), didYouMean(p.key.Value, names(k.keys)))
			continue
		}
		given[known.name] = true
		below := join(path, known.name)
		read := func() { d.value(p.value, known, d.place(known, v), below) }
		if known.inert {
			d.add(d.pos(p.key), "%q has no effect in this version; take it out", known.name)
		}
		if known.name == "batches" {
			last = append(last, read) // they begin as copies of the plan's own keys
			continue
		}
		read()
	}
	for _, read := range last {
		read()
	}
	for _, known := range k.keys {
		if known.required && !given[known.name] {
			d.missing(n, path, known)
		}
	}
}

// place is where the value of k goes: a field of v, v itself for a group, and
// nowhere for a key without effect, which is only checked.
func (d *decoder) place(k *key, v reflect.Value) reflect.Value {
	switch {
	case k.inert:
		return reflect.New(k.typ).Elem()
	case k.field == nil:
		return v
	}
	return v.FieldByIndex(k.field)
}

func (d *decoder) missing(n *yaml.Node, path string, k *key) {
	where := "the plan"
	if path != "" {
		where = path
	}
	d.bad[join(path, k.name)] = true
	d.add(d.pos(n), "%s has no %q: %s", where, k.name, k.doc)
}

func find(keys []*key, name string) *key {
	for _, k := range keys {
		if k.name == name {
			return k
		}
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// namedMappings reads targets: names of the hoster's choice with keys below.
func (d *decoder) namedMappings(n *yaml.Node, k *key, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.refuse(n, path, "%s needs names below it, each with its keys", k.name)
		return
	}
	v.Set(reflect.MakeMap(k.typ))
	folded := map[string]int{}
	for _, p := range d.pairs(n) {
		name := p.key.Value
		if _, err := k.kind.parse(name); err != nil {
			d.add(d.pos(p.key), "%s: name %s", k.name, err)
		} else if line, ok := folded[strings.ToLower(name)]; ok {
			d.add(d.pos(p.key), "%s: %s differs from the name on line %d in capitals only", k.name, shown(name), line)
		}
		folded[strings.ToLower(name)] = p.key.Line
		item := reflect.New(k.typ.Elem().Elem())
		setDefaults(item.Elem(), k.keys)
		item.Elem().FieldByName("Name").SetString(name)
		one := &key{name: name, shape: mapping, keys: k.keys}
		d.value(p.value, one, item.Elem(), join(path, name))
		v.SetMapIndex(reflect.ValueOf(name), item)
	}
	if len(n.Content) == 0 {
		d.refuse(n, path, "%s is empty; one is needed", k.name)
	}
}

// namedValues reads names of the hoster's choice with one value each, or a list
// of them: links, folders to rename, shortest notices, domains. What the plan says already is kept
// where a batch does not say otherwise.
func (d *decoder) namedValues(n *yaml.Node, k *key, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.refuse(n, path, "%s needs names below it, each with a value", k.name)
		return
	}
	values := reflect.MakeMap(k.typ)
	if !v.IsNil() {
		for name, value := range v.Seq2() {
			values.SetMapIndex(name, value)
		}
	}
	one := &key{kind: k.kind, min: k.min, max: k.max}
	if k.typ.Elem().Kind() == reflect.Slice {
		one.shape, one.typ, one.required = sequence, k.typ.Elem(), true
	}
	for _, p := range d.pairs(n) {
		name, ok := d.nameOf(p.key, k)
		if !ok {
			continue
		}
		one.name = p.key.Value
		if one.shape == sequence {
			list := reflect.New(one.typ).Elem()
			d.value(p.value, one, list, join(path, p.key.Value))
			values.SetMapIndex(name, list)
			continue
		}
		if value, ok := d.scalar(p.value, one, join(path, p.key.Value)); ok {
			values.SetMapIndex(name, reflect.ValueOf(value))
		}
	}
	v.Set(values)
}

func (d *decoder) nameOf(n *yaml.Node, k *key) (reflect.Value, bool) {
	name := n.Value
	if k.typ.Key().Kind() == reflect.Int {
		days, ok := strings.CutSuffix(name, "d")
		count, err := strconv.Atoi(days)
		if !ok || err != nil || !digits.MatchString(days) || count > 999 {
			d.add(d.pos(n), "%s: %s is not a number of days; write one such as 7d", k.name, shown(name))
			return reflect.Value{}, false
		}
		return reflect.ValueOf(count), true
	}
	if len(k.names) > 0 && !slices.Contains(k.names, name) {
		suggestion := didYouMean(name, k.names)
		if suggestion == "" {
			suggestion = "; write one of: " + strings.Join(k.names, ", ")
		}
		d.add(d.pos(n), "unknown key %s%s", shown(name), suggestion)
		return reflect.Value{}, false
	}
	if name == "" {
		d.add(d.pos(n), "%s: a name is empty", k.name)
		return reflect.Value{}, false
	}
	return reflect.ValueOf(name), true
}

func (d *decoder) list(n *yaml.Node, k *key, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.refuse(n, path, "%s needs a list; write [ … ], or one line each beginning with -", k.name)
		return
	}
	if len(n.Content) == 0 && k.required {
		d.refuse(n, path, "%s is empty; one is needed", k.name)
	}
	items := reflect.MakeSlice(k.typ, 0, len(n.Content))
	for i, item := range n.Content {
		below := path + "[" + strconv.Itoa(i) + "]"
		one := *k
		one.shape, one.typ = scalar, k.typ.Elem()
		if k.keys != nil {
			one.shape = mapping
			items = reflect.Append(items, d.element(item, &one, below))
			continue
		}
		if value, ok := d.scalar(item, &one, below); ok {
			items = reflect.Append(items, reflect.ValueOf(value).Convert(one.typ))
		} else {
			d.bad[path] = true
		}
	}
	v.Set(items)
}

// element reads one batch or notice.
func (d *decoder) element(n *yaml.Node, k *key, path string) reflect.Value {
	if k.typ.Kind() != reflect.Pointer {
		v := reflect.New(k.typ).Elem()
		setDefaults(v, k.keys)
		d.value(n, k, v, path)
		return v
	}
	v := reflect.New(k.typ.Elem())
	setDefaults(v.Elem(), k.keys)
	if b, ok := v.Interface().(*Batch); ok {
		b.Window, b.Copy, b.Passwords, b.Notices = d.plan.Window, d.plan.Copy, d.plan.Passwords, d.plan.Notices
		b.Copy.Rename, b.Notices.Links = maps.Clone(b.Copy.Rename), maps.Clone(b.Notices.Links)
	}
	d.value(n, k, v.Elem(), path)
	return v
}

// scalar reads one value. What the YAML library made of it (a date, an octal
// number, minutes times sixty) does not matter: its text is read.
func (d *decoder) scalar(n *yaml.Node, k *key, path string) (any, bool) {
	d.at[path] = n
	switch {
	case n.Kind == yaml.AliasNode, n.Style&yaml.TaggedStyle != 0:
		d.bad[path] = true // reported by forbidden
		return nil, false
	case n.Kind != yaml.ScalarNode:
		d.refuse(n, path, "%s needs one value, a %s, not a %s", k.name, k.kind.says, shapeOf(n))
		return nil, false
	case isNull(n) && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0:
		d.refuse(n, path, "%s has nothing behind it; fill it in or take it out", k.name)
		return nil, false
	}
	if why := k.mistyped(n); why != "" {
		d.refuse(n, path, "%s: %s", k.name, why)
		return nil, false
	}
	value, err := k.parse(n.Value)
	if err != nil {
		d.refuse(n, path, "%s: %s", k.name, err)
		return nil, false
	}
	if s, ok := value.(Secret); ok {
		r := s.r()
		r.dir = d.plan.Dir
		if r.scheme == "file" && !filepath.IsAbs(r.value) {
			r.root = d.plan.Root
		}
	}
	return value, true
}

func shapeOf(n *yaml.Node) string {
	if n.Kind == yaml.SequenceNode {
		return "list"
	}
	return "mapping"
}

// mistyped says where quotes, or their absence, make the value another type
// than its key has.
func (k *key) mistyped(n *yaml.Node) string {
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	value := shown(n.Value)
	if k.kind.hidden {
		value = "its value"
	}
	switch k.kind.typ {
	case "integer":
		if quoted {
			return value + " is text; write the number without quotes"
		}
	case "boolean":
		if quoted {
			return value + " is text; write true or false without quotes"
		}
	default:
		if !quoted && n.ShortTag() == "!!bool" {
			return n.Value + " is not text; put it in quotes if it is meant so"
		}
	}
	return ""
}

// half of the days of a notice is its shortest lead where nothing is said.
func half(days int) time.Duration { return time.Duration(days) * 12 * time.Hour }
