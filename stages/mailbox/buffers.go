package mailbox

import (
	"io"
	"sync"
)

// Memory that is used over and over, by all accounts of the process: what is
// thrown away after each message makes the heap twice as large as it has to be.

// An arena is what the groups' bodies lie in. It is twice as long as what they may
// have, since they leave gaps that are too short for the next. The first that is
// long enough is taken: what the kernel gives of the arena is little more than
// what was needed at once so far.
type arena struct {
	memory []byte
	used   [arenaBytes / cell]bool
	lost   int // cells that are not given out again
}

const arenaBytes = 2 * memoryBytes

// cell is what memory is given out in.
const cell = 64 << 10

// inCells is how much memory n bytes take.
func inCells(n int64) int64 { return (max(n, 1) + cell - 1) / cell * cell }

var bodies struct {
	sync.Mutex
	now *arena
}

// buffer is a piece of an arena, or of its own where that has none long enough.
type buffer struct {
	bytes []byte
	from  int
	of    *arena
}

// takeBuffer returns a buffer of size bytes, which are inCells.
func takeBuffer(size int64) buffer {
	bodies.Lock()
	defer bodies.Unlock()
	if bodies.now == nil {
		bodies.now = &arena{memory: make([]byte, arenaBytes)}
	}
	a, n, free := bodies.now, int(size/cell), 0
	for i := range a.used {
		if free++; a.used[i] {
			free = 0
		}
		if free == n {
			from := i + 1 - n
			for k := from; k <= i; k++ {
				a.used[k] = true
			}
			return buffer{a.memory[from*cell : (i+1)*cell : (i+1)*cell], from, a}
		}
	}
	return buffer{bytes: make([]byte, size)}
}

// give gives the buffer back. Where somebody may still write into it, as after
// a lost connection, it is not used again; nor is an arena with much of that.
func (b buffer) give(again bool) {
	bodies.Lock()
	defer bodies.Unlock()
	switch {
	case b.of == nil:
	case again:
		for k := range len(b.bytes) / cell {
			b.of.used[b.from+k] = false
		}
	default:
		b.of.lost += len(b.bytes) / cell
		if bodies.now == b.of && b.of.lost > len(b.of.used)/2 {
			bodies.now = nil
		}
	}
}

var pieces = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// copyAll is io.Copy without a buffer of its own.
func copyAll(to io.Writer, from io.Reader) (int64, error) {
	b := pieces.Get().(*[16 << 10]byte)
	defer pieces.Put(b)
	return io.CopyBuffer(to, from, b[:])
}
