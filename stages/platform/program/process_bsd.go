//go:build unix && !linux

package program

import (
	"os/exec"
	"syscall"
)

// ownGroup starts the child in a process group of its own, so that it can be
// killed with all its children.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
