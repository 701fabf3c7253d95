package vault

// GenerateFrom is Generate with a source of the test's own, so that what it
// counts is the same every time.
var GenerateFrom = generate
