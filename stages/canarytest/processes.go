package canarytest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// processes notes what every process that can be read shows to others: its
// arguments and its environment. It runs as long as the tests do.
var processes = watcher{seen: map[shown]bool{}, looked: make(chan struct{})}

type watcher struct {
	start  sync.Once
	looked chan struct{} // closed after the first time
	mu     sync.Mutex
	seen   map[shown]bool
}

// shown is one argument or variable.
type shown struct{ program, where, text string }

// looks is how often a process is read: the first time it may not yet be what
// it becomes.
const looks = 10

func (w *watcher) run() {
	first := sync.OnceFunc(func() { close(w.looked) })
	defer first()
	known := map[string]int{}
	for {
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return // no Linux: all finds nothing, and Search says so
		}
		alive := map[string]int{}
		for _, e := range entries {
			if _, err := strconv.Atoi(e.Name()); err != nil {
				continue
			}
			if alive[e.Name()] = min(known[e.Name()]+1, looks+1); alive[e.Name()] <= looks {
				w.note(e.Name())
			}
		}
		known = alive
		first()
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *watcher) note(pid string) {
	line, err := os.ReadFile("/proc/" + pid + "/cmdline")
	if err != nil || len(line) == 0 {
		return
	}
	args := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
	program := filepath.Base(args[0])
	environ, _ := os.ReadFile("/proc/" + pid + "/environ") // somebody else's cannot be read
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, arg := range args {
		w.seen[shown{program, "command line", arg}] = true
	}
	for v := range strings.SplitSeq(string(environ), "\x00") {
		w.seen[shown{program, "environment", v}] = true
	}
}

func (w *watcher) all() []shown {
	<-w.looked
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]shown, 0, len(w.seen))
	for s := range w.seen {
		list = append(list, s)
	}
	return list
}
