package program

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Check says beforehand why command must not or cannot be run: who can write
// the program, or a folder above it, decides what happens to every mailbox. A
// relative command[0] is looked up in dir, the plan's folder.
func Check(command []string, dir string) error {
	_, err := resolve(command, dir)
	return err
}

// resolve returns the program's real path after all checks. It is called
// before each run: a program may have been replaced since validate.
func resolve(command []string, dir string) (string, error) {
	if len(command) == 0 || command[0] == "" {
		return "", errors.New("no program is named; give its path, like [\"./hooks/freeze\"]")
	}
	name := command[0]
	if !strings.ContainsRune(name, filepath.Separator) {
		return "", fmt.Errorf("program %q is not looked for in PATH; give its path, like \"./%s\"", name, name)
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	// A folder on the way that others may write to could lead elsewhere later,
	// so the way is checked before and after links are followed.
	if err := checkFolders(path); err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("program %q does not exist", path)
	}
	if err != nil {
		return "", err
	}
	if err := checkFolders(real); err != nil {
		return "", err
	}
	return real, checkFile(real)
}

func checkFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("program %q is not a regular file", path)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("program %q is not executable; chmod +x", path)
	case writableByOthers(info):
		return fmt.Errorf("program %q can be changed by others (mode %04o); chmod go-w that file", path, info.Mode().Perm())
	case !ownedByUs(info):
		return fmt.Errorf("program %q belongs to another user; it must belong to root or to the user who runs godwit", path)
	}
	return nil
}

// checkFolders looks at every folder above path. The nearest must not be
// writable by others at all; further up a sticky folder like /tmp is fine,
// since nobody can replace what others own in it.
func checkFolders(path string) error {
	for folder, nearest := filepath.Dir(path), true; ; folder, nearest = filepath.Dir(folder), false {
		info, err := os.Stat(folder)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("program %q does not exist", path)
		case err != nil:
			return err
		case writableByOthers(info) && info.Mode()&fs.ModeSticky == 0:
			return fmt.Errorf("the folder %q of program %q can be changed by others (mode %04o); chmod go-w that folder",
				folder, filepath.Base(path), info.Mode().Perm())
		case writableByOthers(info) && nearest:
			return fmt.Errorf("in the folder %q of program %q everybody may write; give the program a folder of its own",
				folder, filepath.Base(path))
		case !ownedByUs(info):
			return fmt.Errorf("the folder %q of program %q belongs to another user; it must belong to root or to the user who runs godwit",
				folder, filepath.Base(path))
		}
		if folder == filepath.Dir(folder) {
			return nil
		}
	}
}

func writableByOthers(info fs.FileInfo) bool { return info.Mode().Perm()&0o022 != 0 }
