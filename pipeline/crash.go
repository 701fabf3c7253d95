package pipeline

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
