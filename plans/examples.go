package plans

import "embed"

// Examples are the plans that `godwit init` writes, below "examples". Files
// that begin with #! are programs and need the executable bit when written.
//
//go:embed examples
var Examples embed.FS
