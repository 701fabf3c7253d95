package mailbox

import (
	"io"
	"math/bits"
	"sync"
)

// Memory that is used over and over, by all accounts of the process: what is
// thrown away after each message makes the heap twice as large as it has to be.

// Group buffers come in sizes of a power of two, so that one fits the next.
const (
	smallestBuffer = 17 // 128 kB, as a power of two
	largestBuffer  = 22 // 4 MB: above it, a message is streamed
)

var buffers [largestBuffer + 1]sync.Pool

// bufferSize is the size of the buffer that holds n bytes, 0 where none does.
func bufferSize(n int64) int64 {
	if n > 1<<largestBuffer {
		return 0
	}
	return 1 << max(smallestBuffer, bits.Len64(uint64(max(n, 1)-1)))
}

// takeBuffer returns a buffer of a bufferSize.
func takeBuffer(size int64) []byte {
	if b, ok := buffers[bits.Len64(uint64(size))-1].Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, size)
}

// giveBuffer takes it back.
func giveBuffer(b []byte) { buffers[bits.Len64(uint64(len(b)))-1].Put(&b) }

var pieces = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// copyAll is io.Copy without a buffer of its own.
func copyAll(to io.Writer, from io.Reader) (int64, error) {
	b := pieces.Get().(*[16 << 10]byte)
	defer pieces.Put(b)
	return io.CopyBuffer(to, from, b[:])
}
