//go:build !unix

package program

import (
	"io/fs"
	"os"
	"os/exec"
)

// ownGroup does nothing: there are no process groups here.
func ownGroup(*exec.Cmd) {}

// killGroup kills p alone.
func killGroup(p *os.Process) error { return p.Kill() }

// ownedByUs cannot be told here.
func ownedByUs(fs.FileInfo) bool { return true }
