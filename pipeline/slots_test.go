package pipeline_test

import (
	"sync"
	"testing"
	"time"

	"godwit/pipeline"
)

// A slot is kept for the night where one is near, and lies idle at no other time.
func TestASlotIsKeptForANightThatIsNear(t *testing.T) {
	for at, want := range map[string]int{"2026-11-30 03:00": 2, "2026-12-02 03:00": 1} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t)
			w.edit("plan.yaml", "batches:\n", "copy: {accounts: 2}\nbatches:\n")
			w.run("2026-11-25 03:00")
			var mu sync.Mutex
			running, most := 0, 0
			together := make(chan struct{})
			w.fails["copy precopy"] = func(pipeline.Task) (pipeline.Result, error) {
				mu.Lock()
				if running++; running > most {
					if most = running; most == want {
						close(together)
					}
				}
				mu.Unlock()
				select {
				case <-together:
				case <-time.After(time.Minute): // or never
				}
				time.Sleep(10 * time.Millisecond)
				mu.Lock()
				running--
				mu.Unlock()
				return pipeline.Result{}, nil
			}
			if w.run(at); most != want {
				t.Errorf("%d at once, want %d", most, want)
			}
		})
	}
}
