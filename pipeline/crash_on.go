//go:build crashtest

package pipeline

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
)

var points atomic.Int64

// A test build kills itself at the point whose number stands in
// GODWIT_CRASH_AT, and appends each point it passes to GODWIT_CRASH_LOG.
func init() {
	at, _ := strconv.ParseInt(os.Getenv("GODWIT_CRASH_AT"), 10, 64)
	log := os.Getenv("GODWIT_CRASH_LOG")
	crash = func(point string) {
		n := points.Add(1)
		if log != "" {
			if f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
				fmt.Fprintf(f, "%d %s\n", n, point)
				f.Close()
			}
		}
		if n == at {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
}
