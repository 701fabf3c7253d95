package plans

import (
	"cmp"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// shape is what stands behind a key in YAML.
type shape int

const (
	scalar   shape = iota
	sequence       // [a, b]
	mapping        // keys we know
	named          // keys of the hoster's choice
)

// key is one key of a plan, as the tags of its field describe it.
type key struct {
	name     string
	doc      string
	kind     kind
	fallback string // default
	words    []string
	noEffect []string // words that are known and refused
	names    []string // keys a named mapping may have; nil: any of its kind
	min, max string
	required bool
	inert    bool
	override bool // begins as a copy of the plan's
	shape    shape
	typ      reflect.Type
	field    []int  // in its struct; nil for a group opened by a dot
	keys     []*key // of a mapping, or of each element
}

// planKeys are the keys of a whole plan.
var planKeys = sync.OnceValue(func() *key {
	t := reflect.TypeFor[Plan]()
	return &key{name: "the plan", shape: mapping, typ: t, keys: keysOf(t, "")}
})

// keysOf reads the tags of t's fields. role says what a Driver is for.
func keysOf(t reflect.Type, role string) []*key {
	var keys []*key
	for i := range t.NumField() {
		f := t.Field(i)
		name, ok := f.Tag.Lookup("yaml")
		only := f.Tag.Get("only")
		if !ok || only != "" && only != role {
			continue
		}
		group, rest, dotted := strings.Cut(name, ".")
		if !dotted {
			keys = append(keys, keyOf(f, name, role))
			continue
		}
		if len(keys) == 0 || keys[len(keys)-1].name != group {
			keys = append(keys, &key{name: group, shape: mapping, typ: t, doc: "see below"})
		}
		last := keys[len(keys)-1]
		last.keys = append(last.keys, keyOf(f, rest, role))
	}
	return keys
}

func keyOf(f reflect.StructField, name, role string) *key {
	tag := f.Tag
	k := &key{
		name: name, doc: tag.Get("doc"), fallback: tag.Get("default"),
		min: tag.Get("min"), max: tag.Get("max"),
		required: tag.Get("required") != "", inert: tag.Get("inert") != "", override: tag.Get("override") != "",
		typ: f.Type, field: f.Index,
		names: strings.Fields(tag.Get("names")),
	}
	words := tag.Get("enum")
	if role != "" && tag.Get(role) != "" {
		words = tag.Get(role)
	}
	for _, word := range strings.Fields(words) {
		if known, refused := strings.CutSuffix(word, "!"); refused {
			k.noEffect = append(k.noEffect, known)
		} else {
			k.words = append(k.words, word)
		}
	}
	k.kind = kinds[tag.Get("kind")]
	switch {
	case k.words != nil:
		k.kind = wordKind
	case f.Type.Kind() == reflect.Bool:
		k.kind = boolKind
	}
	elem := f.Type
	switch f.Type.Kind() {
	case reflect.Slice:
		k.shape, elem = sequence, f.Type.Elem()
	case reflect.Map:
		k.shape, elem = named, f.Type.Elem()
	case reflect.Struct:
		if k.kind.parse == nil {
			k.shape = mapping
		}
	}
	if elem.Kind() == reflect.Pointer {
		elem = elem.Elem()
	}
	if elem.Kind() == reflect.Struct && (k.shape != scalar) {
		k.keys = keysOf(elem, tag.Get("role"))
	}
	return k
}

// names lists what may stand in a mapping.
func names(keys []*key) []string {
	var all []string
	for _, k := range keys {
		all = append(all, k.name)
	}
	return all
}

// allWords are the words a key may be, those without effect too.
func (k *key) allWords() []string {
	return append(append([]string(nil), k.words...), k.noEffect...)
}

// setDefaults fills v, a struct, with what its keys' tags say. A default that
// does not parse is our own mistake.
func setDefaults(v reflect.Value, keys []*key) {
	for _, k := range keys {
		if k.field == nil {
			setDefaults(v, k.keys)
			continue
		}
		field := v.FieldByIndex(k.field)
		switch {
		case k.override || k.shape == named:
		case k.shape == mapping:
			setDefaults(field, k.keys)
		case k.fallback != "":
			value, err := k.parse(k.fallback)
			if err != nil {
				panic("default of " + k.name + ": " + err.Error())
			}
			if k.shape == sequence {
				field.Set(reflect.Append(field, reflect.ValueOf(value)))
				continue
			}
			field.Set(reflect.ValueOf(value).Convert(field.Type()))
		}
	}
}

// parse reads one value of k from its text.
func (k *key) parse(text string) (any, error) {
	if k.words != nil {
		return text, k.checkWord(text)
	}
	value, err := k.kind.parse(text)
	if err != nil {
		return nil, err
	}
	return value, k.checkLimits(value)
}

func (k *key) checkWord(text string) error {
	for _, word := range k.words {
		if text == word {
			return nil
		}
	}
	for _, word := range k.noEffect {
		if text == word {
			return wrong("%q has no effect in this version; write one of: %s", text, strings.Join(k.words, ", "))
		}
	}
	suggestion := didYouMean(text, k.allWords())
	if suggestion == "" {
		suggestion = "; write one of: " + strings.Join(k.words, ", ")
	}
	return wrong("unknown word %s%s", shown(text), suggestion)
}

// checkLimits holds value against the key's min and max, written as the
// hoster would write them.
func (k *key) checkLimits(value any) error {
	below := func(limit string, sign int) bool {
		if limit == "" {
			return false
		}
		bound, err := k.kind.parse(limit)
		if err != nil {
			n, numErr := strconv.Atoi(limit)
			if numErr != nil {
				panic("limit of " + k.name + ": " + err.Error())
			}
			bound = n
		}
		return sign*cmp.Compare(reflect.ValueOf(value).Int(), reflect.ValueOf(bound).Int()) < 0
	}
	if below(k.min, 1) {
		return wrong("must be at least %s", k.min)
	}
	if below(k.max, -1) {
		return wrong("must be at most %s", k.max)
	}
	return nil
}
