package main_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// The rules of LAYOUT.md. They are checked by parsing the files in this
// process: what a child `go list` reads is invisible to the test cache, and a
// broken rule would then pass.
const (
	rule1   = "rule 1: cmd → stages → pipeline → plans; each may import what stands to its right, none to its left"
	rule2   = "rule 2: tools, the folders below stages, import none of ours but other tools"
	rule3   = "rule 3: plans and templates import none of ours"
	rule4   = "rule 4: what ships imports nothing named …test"
	labRule = "godwit-lab imports none of ours: its comparer must trust nothing that the copier wrote"
)

const module = "godwit"

// mayImport says for each room which others it may import.
var mayImport = map[string]struct {
	rooms []string
	rule  string
}{
	"cmd":       {[]string{"stages", "tools", "pipeline", "plans", "templates"}, rule1},
	"lab":       {nil, labRule},
	"stages":    {[]string{"tools", "pipeline", "plans", "templates"}, rule1},
	"tools":     {[]string{"tools"}, rule2},
	"pipeline":  {[]string{"pipeline", "plans"}, rule1},
	"plans":     {[]string{"plans"}, rule3},
	"templates": {[]string{"templates"}, rule3},
}

// room returns where a folder stands, "" if nowhere.
func room(folder string) string {
	top, below, _ := strings.Cut(folder, "/")
	switch {
	case top == "stages" && below != "":
		return "tools"
	case top == "cmd" && strings.HasPrefix(below+"/", "godwit-lab/"):
		return "lab"
	case top == "cmd" && strings.HasPrefix(below+"/", "godwit/"):
		return "cmd"
	case top == "stages", top == "pipeline", top == "plans", top == "templates":
		return top
	}
	return ""
}

// checkImports returns what breaks a rule, and how many files it read.
func checkImports(tree fs.FS) (broken []string, files int, err error) {
	err = fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if base := entry.Name(); name != "." && (base[0] == '.' || base[0] == '_' || base == "testdata" || base == "out") {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		files++
		found, err := checkFile(tree, name)
		broken = append(broken, found...)
		return err
	})
	return broken, files, err
}

func checkFile(tree fs.FS, name string) (broken []string, err error) {
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		return nil, err
	}
	positions := token.NewFileSet()
	file, err := parser.ParseFile(positions, name, text, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	from := room(path.Dir(name))
	if from == "" {
		broken = append(broken, fmt.Sprintf("%s:1: stands in no room of LAYOUT.md; %s", name, rule1))
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return broken, err
		}
		if rule := brokenBy(name, from, imported); rule != "" {
			broken = append(broken, fmt.Sprintf("%s:%d: imports %s; %s", name, positions.Position(spec.Pos()).Line, imported, rule))
		}
	}
	return broken, nil
}

// brokenBy returns the rule that an import breaks, "" if none.
func brokenBy(name, from, imported string) string {
	folder, ours := strings.CutPrefix(imported, module+"/")
	ours = ours || imported == module
	itself := strings.HasSuffix(name, "_test.go") && folder == path.Dir(name) // what a caller can use is what is tested
	if ours && from != "" && !itself && !slices.Contains(mayImport[from].rooms, room(folder)) {
		return mayImport[from].rule
	}
	forTests := strings.HasSuffix(name, "_test.go") || strings.HasSuffix(path.Dir(name), "test")
	if last := path.Base(imported); !forTests && (strings.HasSuffix(last, "test") || last == "testing" || last == "testscript") {
		return rule4
	}
	return ""
}

func TestImportsPointOneWay(t *testing.T) {
	broken, files, err := checkImports(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Errorf("only %d files were read: the check looks in the wrong place", files)
	}
	for _, b := range broken {
		t.Error(b)
	}
}

func TestABrokenImportRuleIsFound(t *testing.T) {
	tests := map[string]struct{ file, imports, rule string }{
		"a stage imports a command":               {"stages/copy.go", "godwit/cmd/godwit", rule1},
		"the engine imports a stage":              {"pipeline/run.go", "godwit/stages", rule1},
		"a store imports a tool":                  {"pipeline/ledger/sqlite/sqlite.go", "godwit/stages/mailbox", rule1},
		"the engine imports texts":                {"pipeline/due.go", "godwit/templates", rule1},
		"a test breaks it as well":                {"pipeline/due_test.go", "godwit/stages/demohost", rule1},
		"a command imports another":               {"cmd/godwit/run.go", "godwit/cmd/godwit-lab", rule1},
		"a room that is none":                     {"internal/util/util.go", "fmt", rule1},
		"something imports what is no room":       {"stages/copy.go", "godwit/internal/util", rule1},
		"a tool imports plans":                    {"stages/mailbox/pass.go", "godwit/plans", rule2},
		"a tool imports the engine":               {"stages/platform/zimbra/soap.go", "godwit/pipeline", rule2},
		"a tool imports the stages":               {"stages/mailer/mailer.go", "godwit/stages", rule2},
		"plans import the engine":                 {"plans/plan.go", "godwit/pipeline", rule3},
		"plans import texts":                      {"plans/load.go", "godwit/templates", rule3},
		"texts import plans":                      {"templates/templates.go", "godwit/plans", rule3},
		"a shipped file imports a suite":          {"stages/freeze.go", "godwit/stages/platform/platformtest", rule4},
		"a shipped file imports a library's":      {"plans/load.go", "testing/fstest", rule4},
		"a shipped file imports testing":          {"stages/demohost/imap.go", "testing", rule4},
		"the lab imports a tool":                  {"cmd/godwit-lab/compare.go", "godwit/stages/mailbox", labRule},
		"the lab's test imports plans":            {"cmd/godwit-lab/compare_test.go", "godwit/plans", labRule},
		"a folder below the lab imports a ledger": {"cmd/godwit-lab/x/x.go", "godwit/pipeline/ledger", labRule},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, _, err := checkImports(fstest.MapFS{tt.file: source(tt.file, tt.imports)})
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("%s:5: imports %s; %s", tt.file, tt.imports, tt.rule)
			if room(path.Dir(tt.file)) == "" {
				want = tt.file + ":1: stands in no room of LAYOUT.md; " + tt.rule
			}
			if !slices.Equal(got, []string{want}) {
				t.Errorf("got %q\nwant %q", got, want)
			}
		})
	}
}

func TestAllowedImportsAreLeftAlone(t *testing.T) {
	tree := fstest.MapFS{}
	for file, imported := range map[string]string{
		"cmd/godwit/wire.go":                           "godwit/stages/platform/zimbra",
		"cmd/godwit/main.go":                           "godwit/templates",
		"stages/copy.go":                               "godwit/stages/mailbox",
		"stages/stages.go":                             "godwit/pipeline",
		"stages/report.go":                             "godwit/plans",
		"stages/platform/zimbra/zimbra.go":             "godwit/stages/platform",
		"stages/mailbox/pass_test.go":                  "godwit/stages/demohost",
		"stages/platform/platformtest/platformtest.go": "testing",
		"pipeline/ledger/sqlite/sqlite.go":             "godwit/pipeline/ledger",
		"pipeline/ledger/sqlite/sqlite_test.go":        "godwit/pipeline/ledger/ledgertest",
		"pipeline/due.go":                              "godwit/plans",
		"plans/plan_test.go":                           "godwit/plans",
		"stages/copy_test.go":                          "godwit/stages",
		"templates/templates_test.go":                  "godwit/templates",
		"cmd/godwit-lab/main.go":                       "github.com/emersion/go-smtp",
		"cmd/godwit/testdata/x.go":                     "godwit/nowhere",
	} {
		tree[file] = source(file, imported)
	}
	broken, files, err := checkImports(tree)
	if err != nil || len(broken) > 0 {
		t.Errorf("got %q, %v", broken, err)
	}
	if files != len(tree)-1 {
		t.Errorf("%d files were read of %d", files, len(tree)-1)
	}
}

// source is a Go file whose line 5 is an import.
func source(file, imported string) *fstest.MapFile {
	text := fmt.Sprintf("package %s\n\nimport (\n\t\"context\"\n\t%q\n)\n", strings.ReplaceAll(path.Base(path.Dir(file)), "-", ""), imported)
	return &fstest.MapFile{Data: []byte(text)}
}
