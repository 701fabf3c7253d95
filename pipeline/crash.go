package pipeline

import (
	"time"

	"godwit/plans"
)

// crash is set in builds with the tag crashtest only (crash_on.go);
// cmd/godwit/crash_test.go makes one.
var crash func(point string)

// CrashPoint marks a place where a test kills the process: before and after
// every write that outlives it.
func CrashPoint(point string) {
	if crash != nil {
		crash(point)
	}
}

// interruption is set in the same builds only.
var interruption time.Duration

// hurried shortens every cutover for a test that cannot wait.
func hurried(plan *plans.Plan) {
	for _, b := range plan.Batches {
		if interruption > 0 {
			b.Window.MaxInterruption = interruption
		}
	}
}
