package inproc_test

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// TestIdleWorker: a worker that has nothing to do asks Redis seldom, and still takes what comes.
func TestIdleWorker(t *testing.T) {
	t.Parallel()
	const window, most = 4 * time.Second, 45 // commands a second
	r := newRig(t)
	w := r.worker()
	r.waitOwners(patience, map[string]int{w.name: 16})
	begin, before := time.Now(), r.commands()
	eventually(t, time.Minute, "the worker is quiet", func() error {
		took := time.Since(begin)
		if took < window {
			return fmt.Errorf("measured for %v only", took)
		}
		n := r.commands() - before - 1 // without that of the test itself
		begin, before = time.Now(), before+n+1
		if rate := float64(n) / took.Seconds(); rate > most {
			return fmt.Errorf("%.0f commands a second, want at most %d", rate, most)
		}
		return nil
	})
	g := r.gateway()
	topic := r.targetOf(3, 0)
	c := join(t, g, "alice", topics(topic))
	r.add("direct", topic, 1, 1)
	c.waitEvents(patience, topic, 1)
}

var commandsLine = regexp.MustCompile(`total_commands_processed:(\d+)`)

// commands is how many commands Redis has executed.
func (r *rig) commands() int {
	r.t.Helper()
	text, err := r.rdb.Info(r.t.Context(), "stats").Result()
	if err != nil {
		r.t.Fatalf("cannot read Redis's counters: %v", err)
	}
	n, err := strconv.Atoi(commandsLine.FindStringSubmatch(text)[1])
	if err != nil {
		r.t.Fatalf("Redis has no counter of commands: %v", err)
	}
	return n
}
