package mailbox_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"godwit/stages/mailbox"
)

func TestNamesThatATargetCannotHold(t *testing.T) {
	tests := map[string]struct{ part, must, careful string }{
		"nothing to do":              {"Entwürfe 2019", "Entwürfe 2019", "Entwürfe 2019"},
		"the delimiter":              {"Dots.in.name", "Dots．in．name", "Dots．in．name"},
		"what some servers refuse":   {`100% "sure" *`, `100% "sure" *`, "100％ ＂sure＂ ＊"},
		"a path":                     {"../x", "．．/x", "．．／x"},
		"a control character":        {"a\tb", "a␉b", "a␉b"},
		"blanks at the ends":         {" a b ", " a b ", "␠a b␠"},
		"one that looks replaced":    {"a．b", "a‛．b", "a‛．b"},
		"the mark":                   {"‛", "‛‛", "‛‛"},
		"nothing":                    {"", "‛", "‛"},
		"only what cannot be":        {"...", "．．．", "．．．"},
		"wide, but not for this one": {"a＄b", "a＄b", "a‛＄b"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := mailbox.Respell(".", tt.part); got != tt.must {
				t.Errorf("got %q, want %q", got, tt.must)
			}
			if got := mailbox.Careful(".", tt.part); got != tt.careful {
				t.Errorf("carefully: got %q, want %q", got, tt.careful)
			}
		})
	}
}

// The way back is never in doubt: so no two names become one.
func TestNamesComeBack(t *testing.T) {
	character := rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune("ab ./%＂．／‛␠␀␡\x00\t\x7f")))
	rapid.Check(t, func(rt *rapid.T) {
		part := string(rapid.SliceOf(character).Draw(rt, "name"))
		if strings.ContainsFunc(part, func(r rune) bool { return r > '\x7f' && unicode.IsControl(r) }) {
			return // C1 controls look like nothing
		}
		delim := rapid.SampledFrom([]string{".", "/", "\\", ""}).Draw(rt, "delimiter")
		must, careful := mailbox.Respell(delim, part), mailbox.Careful(delim, part)
		if back := mailbox.Unspell(delim, must); back != part {
			rt.Errorf("%q is %q and comes back as %q", part, must, back)
		}
		if back := mailbox.Uncareful(delim, careful); back != part {
			rt.Errorf("%q is carefully %q and comes back as %q", part, careful, back)
		}
		for _, name := range []string{must, careful} {
			if strings.ContainsFunc(name, unicode.IsControl) || delim != "" && strings.Contains(name, delim) || name == "" {
				rt.Errorf("%q is no name where %q stands between levels", name, delim)
			}
		}
		if strings.ContainsAny(careful, `%*"\&`) || careful != strings.Trim(careful, " .") {
			rt.Errorf("%q is not careful", careful)
		}
	})
}

func TestSpecialFoldersByName(t *testing.T) {
	tests := map[string]struct {
		names []string
		want  map[string]string
	}{
		"English":    {[]string{"INBOX", "Sent Items", "Drafts", "Deleted Items", "Junk E-mail", "Archive"}, map[string]string{"Sent Items": `\sent`, "Drafts": `\drafts`, "Deleted Items": `\trash`, "Junk E-mail": `\junk`, "Archive": `\archive`}},
		"German":     {[]string{"Gesendete Elemente", "Entwürfe", "Papierkorb", "Junk-E-Mail", "Archiv"}, map[string]string{"Gesendete Elemente": `\sent`, "Entwürfe": `\drafts`, "Papierkorb": `\trash`, "Junk-E-Mail": `\junk`, "Archiv": `\archive`}},
		"French":     {[]string{"Éléments envoyés", "Brouillons", "Corbeille", "Courrier indésirable", "Archives"}, map[string]string{"Éléments envoyés": `\sent`, "Brouillons": `\drafts`, "Corbeille": `\trash`, "Courrier indésirable": `\junk`, "Archives": `\archive`}},
		"Spanish":    {[]string{"Elementos enviados", "Borradores", "Papelera", "Correo no deseado", "Archivo"}, map[string]string{"Elementos enviados": `\sent`, "Borradores": `\drafts`, "Papelera": `\trash`, "Correo no deseado": `\junk`, "Archivo": `\archive`}},
		"Italian":    {[]string{"Posta inviata", "Bozze", "Cestino", "Posta indesiderata", "Archivio"}, map[string]string{"Posta inviata": `\sent`, "Bozze": `\drafts`, "Cestino": `\trash`, "Posta indesiderata": `\junk`, "Archivio": `\archive`}},
		"Portuguese": {[]string{"Itens Enviados", "Rascunhos", "Lixeira", "Lixo Eletrônico", "Arquivo"}, map[string]string{"Itens Enviados": `\sent`, "Rascunhos": `\drafts`, "Lixeira": `\trash`, "Lixo Eletrônico": `\junk`, "Arquivo": `\archive`}},
		"Dutch":      {[]string{"Verzonden items", "Concepten", "Prullenbak", "Ongewenste e-mail", "Archief"}, map[string]string{"Verzonden items": `\sent`, "Concepten": `\drafts`, "Prullenbak": `\trash`, "Ongewenste e-mail": `\junk`, "Archief": `\archive`}},
		"Polish":     {[]string{"Elementy wysłane", "Wersje robocze", "Kosz", "Wiadomości-śmieci", "Archiwum"}, map[string]string{"Elementy wysłane": `\sent`, "Wersje robocze": `\drafts`, "Kosz": `\trash`, "Wiadomości-śmieci": `\junk`, "Archiwum": `\archive`}},

		"accents in two parts":  {[]string{"E\u0301le\u0301ments envoye\u0301s"}, map[string]string{"E\u0301le\u0301ments envoye\u0301s": `\sent`}},
		"one of two":            {[]string{"Gesendet", "Sent"}, map[string]string{"Sent": `\sent`}},
		"a folder in a project": {[]string{"Sent to Anna"}, map[string]string{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, mailbox.Guess(tt.names)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFoldersOfOthers(t *testing.T) {
	tests := map[string]struct {
		prefix  string
		foreign []string
		wire    string
		want    bool
	}{
		"one's own":                          {"", []string{"user."}, "Sent", false},
		"another user's":                     {"", []string{"user."}, "user.ben.Sent", true},
		"the root of other users":            {"", []string{"user."}, "user", true},
		"shared, beside a prefix (Cyrus)":    {"INBOX.", []string{"user.", ""}, "announcements", true},
		"one's own, with a prefix (Cyrus)":   {"INBOX.", []string{"user.", ""}, "INBOX.Sent", false},
		"INBOX itself":                       {"INBOX.", []string{"user.", ""}, "INBOX", false},
		"no prefix tells what is shared":     {"", []string{""}, "Sent", false},
		"a name that begins like another's":  {"", []string{"user."}, "users", false},
		"shared, in a namespace of its name": {"", []string{"Shared Folders/"}, "Shared Folders/x", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := mailbox.Foreign(tt.prefix, ".", tt.foreign, tt.wire); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// A target that takes "Case" and "case" for one folder.
func TestFoldersWhereCaseDoesNotMatter(t *testing.T) {
	type folders = []mailbox.Folder
	tests := map[string]struct {
		source, existing folders
		kept, want       map[string]string
	}{
		"two folders of the source": {
			folders{{"Case", ""}, {"case", ""}},
			nil, nil,
			map[string]string{"Case": "Case", "case": "case (2)"},
		},
		"children stay with their parents": {
			folders{{"Case", ""}, {"Case/x", ""}, {"case", ""}, {"case/x", ""}},
			nil, nil,
			map[string]string{"Case": "Case", "Case/x": "Case/x", "case": "case (2)", "case/x": "case (2)/x"},
		},
		"one that the target spells otherwise": {
			folders{{"sent", ""}, {"sent/2019", ""}},
			folders{{"Sent", ""}},
			nil,
			map[string]string{"sent": "Sent", "sent/2019": "Sent/2019"},
		},
		"decided before, when it was not known": {
			folders{{"Case", ""}, {"case", ""}},
			folders{{"Case", ""}},
			map[string]string{"case": "case"},
			map[string]string{"case": "case", "Case": "Case (2)"},
		},
		"beyond ASCII": {
			folders{{wire("Été"), ""}, {wire("été"), ""}},
			nil, nil,
			map[string]string{wire("Été"): wire("Été"), wire("été"): wire("été (2)")},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := mailbox.MapCase(true, "/", "", tt.source, "/", "", tt.existing, tt.kept, nil)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
