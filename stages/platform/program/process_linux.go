package program

import (
	"os/exec"
	"syscall"
)

// ownGroup starts the child in a process group of its own, so that it can be
// killed with all its children, and lets it die with us.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
