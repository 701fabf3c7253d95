package pipeline

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Uptime is how long the machine has been up, time asleep included, and which
// of its boots that is. Nobody sets this clock, and all processes share it.
func Uptime() (boot string, up time.Duration) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", 0
	}
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return "", 0
	}
	return strings.TrimSpace(string(id)), time.Duration(t.Nano())
}
