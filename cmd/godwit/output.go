package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"godwit/plans"
	"godwit/stages/sheet"
)

// prepareOutput makes the output folder ours alone, and keeps git away from it:
// it will hold passwords.
func prepareOutput(ctx context.Context, plan *plans.Plan) (*os.Root, error) {
	dir := outputDir(plan)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("output.dir %s is not a folder (a link?): name the folder itself", dir)
	}
	if !belongsToUs(info) {
		return nil, fmt.Errorf("output.dir %s belongs to another user, who could change ledger, lists and keys: chown it, or choose another", dir)
	}
	if info.Mode().Perm() != 0o700 {
		if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder, for its owner alone
			return nil, fmt.Errorf("output.dir: %w", err)
		}
	}
	if tracked := trackedBelow(ctx, dir); tracked != "" {
		return nil, fmt.Errorf("git tracks %s in the output folder %s, which will hold passwords: choose another output.dir, or git rm --cached what is there", tracked, dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return root, sheet.Write(root, ".gitignore", []byte("*\n"))
}

func belongsToUs(info fs.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(owner.Uid) == os.Geteuid()
}

// ours refuses a ledger that somebody else may have put there: it says how to
// thaw, so who writes it has us run any program.
func ours(ledger string) error {
	for _, name := range []string{filepath.Dir(ledger), ledger, ledger + "-wal"} {
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !belongsToUs(info) {
			return fmt.Errorf("%s belongs to another user, and the ledger names programs that godwit runs: run godwit as that user, or chown it", name)
		}
	}
	return nil
}

// trackedBelow is the first file that git tracks in dir, "" if there is none
// or no git.
func trackedBelow(ctx context.Context, dir string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	list := exec.CommandContext(ctx, "git", "-c", "core.fsmonitor=false", "-C", dir, "ls-files", "-z")
	list.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LC_ALL=C"} // not the plan's secrets
	out, err := list.Output()
	if err != nil {
		return ""
	}
	first, _, _ := bytes.Cut(out, []byte{0})
	return string(first)
}
