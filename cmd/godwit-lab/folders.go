package main

import (
	"fmt"
	"strings"
)

// folderNames are folders as people make them, / between levels. The more
// folders are wanted, the odder they get.
var folderNames = []string{
	"INBOX", "Sent", "Drafts", "Trash", "Junk", "Archive",
	"Archiv/2019/Müller & Söhne", "Éléments envoyés", "Projekte/Größe \"XL\"", "été 🏖",
	"Привет/мир", "日本語/会議", "A&B", "&", "Dots.in.name", "100% sure", "star*name",
	"back\\slash", "(parens) [brackets] {5}", "[Gmail]/All Mail", "it's ~ fine", "inbox2", "INBOX/below",
	"case", "Case", "re\u0301sume\u0301", "r\u00e9sum\u00e9", "a  b   c", " leading", "trailing ",
	"deep/1/2/3/4/5/6/7/8/9", "NIL", "\"", "𝄞 music", strings.Repeat("long", 30),
}

// folders returns n names, INBOX first.
func folders(n int) []string {
	names := append([]string(nil), folderNames[:min(n, len(folderNames))]...)
	for i := len(names); i < n; i++ {
		names = append(names, fmt.Sprintf("Ordner %d/Größe %d", i/10, i))
	}
	return names
}
