package plans

import (
	"os"
	"path/filepath"
	"regexp"

	"gopkg.in/yaml.v3"
)

// Where tells the name and the output folder of the plan in file, even of one
// that is wrong elsewhere: a typo must not keep a frozen mailbox locked. ok is
// false if the plan is too broken to tell.
func Where(file string) (name, output string, ok bool) {
	data, err := os.ReadFile(file)
	if err != nil || len(data) > 1<<20 {
		return "", "", false
	}
	var p struct {
		Name   string `yaml:"name"`
		Output struct {
			Dir string `yaml:"dir"`
		} `yaml:"output"`
	}
	_ = yaml.Unmarshal(data, &p) // what could be read stands in p, the rest does not matter
	if p.Name == "" {            // no YAML: look for the two lines
		p.Name, p.Output.Dir = line(data, `(?m)^name:\s*["']?([a-z0-9-]+)`), line(data, `(?m)^output:.*\bdir:\s*["']?([^"',}\s]+)`)
		if p.Output.Dir == "" {
			p.Output.Dir = line(data, `(?m)^output:\s*\n(?:\s+.*\n)*?\s+dir:\s*["']?([^"'\s]+)`)
		}
	}
	if p.Output.Dir == "" {
		p.Output.Dir = "out"
	}
	if !filepath.IsAbs(p.Output.Dir) {
		p.Output.Dir = filepath.Join(filepath.Dir(file), p.Output.Dir)
	}
	return p.Name, p.Output.Dir, p.Name != ""
}

func line(data []byte, pattern string) string {
	if m := regexp.MustCompile(pattern).FindSubmatch(data); m != nil {
		return string(m[1])
	}
	return ""
}
