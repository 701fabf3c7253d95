//go:build crashtest

package pipeline

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

var points atomic.Int64

// A test build kills itself at the point whose number stands in
// GODWIT_CRASH_AT, and appends each point it passes to GODWIT_CRASH_LOG. It
// hangs for ever at the points that hold GODWIT_HANG_AT, and undoes cutovers
// after GODWIT_INTERRUPTION: a plan allows no less than a minute.
func init() {
	hang := os.Getenv("GODWIT_HANG_AT")
	interruption, _ = time.ParseDuration(os.Getenv("GODWIT_INTERRUPTION"))
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
		if hang != "" && strings.Contains(point, hang) {
			time.Sleep(time.Hour)
		}
		if n == at {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
}
