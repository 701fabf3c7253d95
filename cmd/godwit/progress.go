package main

import (
	"io"
	"os"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress shows a bar per account that is being copied, with rate and ETA, if
// the output is a terminal; the log lines stand elsewhere.
type progress struct {
	bars *mpb.Progress // nil: no terminal
	mu   sync.Mutex
	of   map[string]*mpb.Bar
}

func newProgress(out io.Writer) *progress {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &progress{}
	}
	return &progress{bars: mpb.New(mpb.WithOutput(f)), of: map[string]*mpb.Bar{}}
}

// account is told how far an account's pass has come, in bytes.
func (p *progress) account(name string, done, total int64) {
	if p.bars == nil || total == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	bar := p.of[name]
	if bar == nil {
		bar = p.bars.AddBar(total, mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(name+" "), decor.CountersKibiByte("% .1f / % .1f")),
			mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1024(0), "% .1f "), decor.AverageETA(decor.ET_STYLE_GO)))
		p.of[name] = bar
	}
	bar.SetTotal(total, false)
	bar.SetCurrent(done)
	if done >= total {
		bar.SetTotal(total, true)
		delete(p.of, name)
	}
}

func (p *progress) close() {
	if p.bars == nil {
		return
	}
	p.mu.Lock()
	for _, bar := range p.of {
		bar.Abort(true)
	}
	p.mu.Unlock()
	p.bars.Wait()
}
