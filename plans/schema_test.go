package plans_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"godwit/plans"
)

var examples = []string{"examples/small.yaml", "examples/large.yaml"}

func TestExamplesLoad(t *testing.T) {
	for _, file := range examples {
		t.Run(file, func(t *testing.T) {
			plan, err := plans.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			defer plan.Close()
			for _, b := range plan.Batches {
				n := 0
				for s := range b.Services() {
					n += len(s.Accounts)
				}
				if n == 0 || n != b.Len() {
					t.Errorf("batch %s yields %d accounts, its list has %d", b.Name, n, b.Len())
				}
			}
		})
	}
}

func TestEmbeddedExamplesLoad(t *testing.T) {
	dir := t.TempDir()
	err := fs.WalkDir(plans.Examples, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(plans.Examples, path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o600)
		if strings.HasPrefix(string(data), "#!") {
			mode = 0o700
		}
		to := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		return os.WriteFile(to, data, mode)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range examples {
		plan, err := plans.Load(filepath.Join(dir, file))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if !strings.HasPrefix(plan.Revision, "sha256:") || len(plan.Revision) != len("sha256:")+12 {
			t.Errorf("revision %q outside of git; want sha256: and 12 digits", plan.Revision)
		}
	}
}

// tree is a YAML document as JSON Schema sees it: numbers and booleans as such,
// all else as text.
func tree(t *testing.T, n *yaml.Node) any {
	t.Helper()
	switch n.Kind {
	case yaml.DocumentNode:
		return tree(t, n.Content[0])
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = tree(t, n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		s := []any{}
		for _, item := range n.Content {
			s = append(s, tree(t, item))
		}
		return s
	}
	switch n.ShortTag() {
	case "!!int":
		if i, err := strconv.Atoi(n.Value); err == nil {
			return float64(i)
		}
	case "!!bool":
		return n.Value == "true"
	case "!!null":
		return nil
	}
	return n.Value
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := plans.Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("plan.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("plan.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func TestSchema(t *testing.T) {
	compiled := schema(t)
	check := func(text []byte) error {
		var n yaml.Node
		if err := yaml.Unmarshal(text, &n); err != nil {
			t.Fatal(err)
		}
		return compiled.Validate(tree(t, &n))
	}
	for _, file := range examples {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(text); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	refused := map[string]string{
		"an unknown key":    small + "freez: 1\n",
		"a wrong type":      strings.Replace(small, "version: 1", "version: one", 1),
		"an unknown word":   small + "copy: {verify: all}\n",
		"a missing key":     strings.Replace(small, "name: acme\n", "", 1),
		"a number too high": small + "passwords: {length: 500}\n",
	}
	for name, text := range refused {
		t.Run(name+" is refused", func(t *testing.T) {
			if check([]byte(text)) == nil {
				t.Error("the schema accepts it")
			}
		})
	}
}

func TestReferenceNamesEveryKey(t *testing.T) {
	table := plans.Reference()
	for _, row := range []string{
		"| `name` | name | required |",
		"| `window.from` | time of day | `00:00` |",
		"| `targets.NAME.imap.tls` | implicit \\| starttls \\| none | `implicit` |",
		"| `copy.folders.exclude` | list: folder pattern |",
		"| `rollback_for` | duration | `3d` |",
		"| `batches[].short_notice` | true or false | `false` |",
	} {
		if !strings.Contains(table, row) {
			t.Errorf("no row %q", row)
		}
	}
	table, columns, _ := strings.Cut(table, "\n\n")
	if !strings.Contains(columns, "| `source_secret` | ") {
		t.Error("no row for the column source_secret")
	}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(strings.ReplaceAll(line, `\|`, "")), "|")
		if len(cells) != 6 || strings.TrimSpace(cells[4]) == "" {
			t.Errorf("a key without a meaning: %s", line)
		}
	}
}
