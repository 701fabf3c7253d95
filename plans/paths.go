package plans

import (
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// isEscape recognises os.Root's refusal of a path that leaves it, through a
// link for instance.
func isEscape(err error) bool {
	return err != nil && strings.Contains(err.Error(), "escapes from parent")
}

// pathFault says what is wrong with a path below the plan's folder.
func pathFault(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file"
	case isEscape(err):
		return "it leads out of the plan's folder through a link"
	}
	return cause(err)
}

// stat looks at a path as a plan writes it: relative ones stay below the
// plan's folder.
func (d *decoder) stat(path string) (fs.FileInfo, error) {
	if filepath.IsAbs(path) {
		return os.Stat(path)
	}
	return d.plan.Root.Stat(path)
}

// isProgram checks that a driver is there and can be started.
func (d *decoder) isProgram(name string) error {
	if !filepath.IsAbs(name) && !filepath.IsLocal(name) {
		return wrong("leaves the plan's folder; programs elsewhere need their whole path")
	}
	info, err := d.stat(filepath.Clean(name))
	switch {
	case err != nil:
		return wrong("cannot be started: %s", pathFault(err))
	case !info.Mode().IsRegular():
		return wrong("is not a program but a folder or device")
	case info.Mode()&0o111 == 0:
		return wrong("cannot be started: it is not executable; chmod +x it")
	}
	return nil
}

// isFolder checks a folder below the plan's.
func (d *decoder) isFolder(path, name string) {
	info, err := d.plan.Root.Stat(name)
	switch {
	case err != nil:
		d.wrong(path, "templates: %s: %s", shown(name), strings.Replace(pathFault(err), "file", "folder", 1))
	case !info.IsDir():
		d.wrong(path, "templates: %s is a file, not a folder", shown(name))
	}
}

const caLimit = 1 << 20

// caFile checks a file of certificates and makes its path absolute.
func (d *decoder) caFile(path, name string) string {
	if !d.good(path) || name == "" {
		return name
	}
	info, err := d.stat(name)
	if err != nil {
		d.wrong(path, "ca_file: %s: %s", shown(name), pathFault(err))
		return name
	}
	if !info.Mode().IsRegular() || info.Size() > caLimit {
		d.wrong(path, "ca_file: %s is not a file of certificates", shown(name))
		return name
	}
	open := d.plan.Root.Open
	if filepath.IsAbs(name) {
		open = os.Open
	}
	f, err := open(name)
	if err != nil {
		d.wrong(path, "ca_file: %s: %s", shown(name), pathFault(err))
		return name
	}
	defer f.Close()
	pem, err := io.ReadAll(io.LimitReader(f, caLimit))
	if err != nil || !x509.NewCertPool().AppendCertsFromPEM(pem) {
		d.wrong(path, "ca_file: %s holds no certificate in PEM form", shown(name))
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(d.plan.Dir, name)
	}
	return name
}
