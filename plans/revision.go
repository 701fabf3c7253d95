package plans

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"os"
	"os/exec"
	"strings"
	"time"
)

// newDigest begins the digest of plan and lists.
func newDigest(plan []byte) hash.Hash {
	digest := sha256.New()
	fmt.Fprintf(digest, "plan %d\n", len(plan))
	digest.Write(plan)
	return digest
}

// revision is the git commit of the plan's work tree, "+dirty" if plan or
// lists differ from it, else the digest of their contents.
func revision(p *Plan, digest hash.Hash) string {
	content := "sha256:" + hex.EncodeToString(digest.Sum(nil))[:12]
	commit, err := git(p.Dir, "rev-parse", "--verify", "HEAD")
	if err != nil {
		return content
	}
	files := []string{"status", "--porcelain", "--ignored", "--", base(p.File)}
	for _, b := range p.Batches {
		files = append(files, b.Accounts)
	}
	changed, err := git(p.Dir, files...)
	if err != nil {
		return content
	}
	if changed != "" {
		return commit + "+dirty"
	}
	return commit
}

func base(file string) string { return file[strings.LastIndexByte(file, '/')+1:] }

// git asks git about the plan's folder. The repository's own settings must not
// start programs, so hooks and monitors are off.
func git(dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{
		"--literal-pathspecs", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C", dir,
	}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0"}
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// tracked says whether git has the file, so that a secret in it would be in
// the repository's history.
func tracked(dir, file string) bool {
	_, err := git(dir, "ls-files", "--error-unmatch", "--", file)
	return err == nil
}
