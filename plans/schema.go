package plans

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Schema is the plan's JSON Schema, made from the same keys that Load reads
// by, so that editors complete and check plans as Godwit does.
func Schema() ([]byte, error) {
	root := planKeys().schema()
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Godwit plan"
	root["description"] = "a migration of mailboxes, in batches"
	return json.MarshalIndent(root, "", "  ")
}

// schema describes k and all below it.
func (k *key) schema() map[string]any {
	s := map[string]any{}
	switch k.shape {
	case mapping:
		s = objectOf(k.keys)
	case named:
		s["type"] = "object"
		item := k.item().schema()
		switch {
		case len(k.names) > 0:
			properties := map[string]any{}
			for _, name := range k.names {
				properties[name] = item
			}
			s["properties"], s["additionalProperties"] = properties, false
		case k.name == "minimum_notice":
			s["patternProperties"], s["additionalProperties"] = map[string]any{`^(0|[1-9][0-9]{0,2})d$`: item}, false
		case k.keys != nil:
			s["patternProperties"], s["additionalProperties"] = map[string]any{k.kind.pattern: item}, false
		default:
			s["additionalProperties"] = item
		}
	case sequence:
		s["type"], s["items"] = "array", k.item().schema()
		if k.required {
			s["minItems"] = 1
		}
	default:
		k.scalarSchema(s)
	}
	k.describe(s)
	return s
}

// item is the key of one element of a list or mapping of names.
func (k *key) item() *key {
	one := &key{kind: k.kind, words: k.words, noEffect: k.noEffect, min: k.min, max: k.max, keys: k.keys}
	if k.shape == named && k.typ.Elem().Kind() == reflect.Slice {
		one.shape, one.required = sequence, true
	}
	if k.keys != nil {
		one.shape = mapping
	}
	return one
}

func objectOf(keys []*key) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, k := range keys {
		properties[k.name] = k.schema()
		if k.required {
			required = append(required, k.name)
		}
	}
	s := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func (k *key) scalarSchema(s map[string]any) {
	s["type"] = or(k.kind.typ, "string")
	switch {
	case k.words != nil:
		s["enum"] = k.words
	case k.kind.says == "1":
		s["const"] = 1
	case k.kind.pattern != "":
		s["pattern"] = k.kind.pattern
	}
	if k.kind.typ == "integer" && k.kind.says != "1" {
		s["minimum"] = 1
		if n, err := strconv.Atoi(k.min); err == nil {
			s["minimum"] = n
		}
		if n, err := strconv.Atoi(k.max); err == nil {
			s["maximum"] = n
		}
	}
}

// describe adds what editors show.
func (k *key) describe(s map[string]any) {
	if k.doc != "" {
		s["description"] = k.doc
	}
	if k.inert {
		s["description"] = "has no effect in this version and is refused; " + k.doc
		s["deprecated"] = true
	}
	if k.fallback == "" || k.shape == named {
		return
	}
	switch {
	case k.shape == sequence:
		s["default"] = []string{k.fallback}
	case k.kind.typ == "integer":
		n, _ := strconv.Atoi(k.fallback)
		s["default"] = n
	case k.kind.typ == "boolean":
		s["default"] = k.fallback == "true"
	default:
		s["default"] = k.fallback
	}
}

// Reference is the table of all keys, in Markdown, and that of the lists'
// columns.
func Reference() string {
	var b strings.Builder
	b.WriteString("| key | type | default | meaning |\n| --- | --- | --- | --- |\n")
	keyRows(&b, "", planKeys().keys)
	b.WriteString("\n| column of an account list | meaning |\n| --- | --- |\n")
	for column := range reflect.TypeFor[columns]().Fields() {
		fmt.Fprintf(&b, "| %s | %s |\n", code(column.Tag.Get("csv")), cell(column.Tag.Get("doc")))
	}
	b.WriteString("| `x_…` | your own; carried into the report untouched |\n")
	return b.String()
}

func keyRows(b *strings.Builder, path string, keys []*key) {
	for _, k := range keys {
		name := join(path, k.name)
		if k.shape == mapping && k.field == nil {
			keyRows(b, name, k.keys) // a group has no meaning of its own
			continue
		}
		meaning := k.doc
		if k.inert {
			meaning += " (no effect in this version: refused)"
		}
		if k.noEffect != nil {
			meaning += " (" + strings.Join(k.noEffect, ", ") + ": no effect in this version, refused)"
		}
		fallback := k.fallback
		if k.required {
			fallback = "required"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", code(name), cell(k.typeName()), cell(code(fallback)), cell(meaning))
		switch {
		case k.override: // the same keys as above
		case k.shape == named && k.keys != nil:
			keyRows(b, name+".NAME", k.keys)
		case k.shape == sequence && k.keys != nil:
			keyRows(b, name+"[]", k.keys)
		case k.keys != nil:
			keyRows(b, name, k.keys)
		}
	}
}

func (k *key) typeName() string {
	one := k.kind.says
	if k.words != nil {
		one = strings.Join(k.words, " | ")
	}
	switch {
	case k.shape == mapping:
		return "keys"
	case k.shape == named && k.keys != nil:
		return "names, each with keys"
	case k.shape == named && k.typ.Elem().Kind() == reflect.Slice:
		return "names, each with a list: " + one
	case k.shape == named:
		return "names, each with a " + one
	case k.shape == sequence && k.keys != nil:
		return "list of keys"
	case k.shape == sequence:
		return "list: " + one
	}
	return one
}

func code(text string) string {
	if text == "" || slices.Contains([]string{"required"}, text) {
		return text
	}
	return "`" + text + "`"
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
