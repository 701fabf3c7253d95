//go:build !linux

package pipeline

import "time"

// Uptime cannot be told here: deadlines go by the wall clock.
func Uptime() (boot string, up time.Duration) { return "", 0 }
