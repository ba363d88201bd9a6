package torture

import (
	"fmt"
	"testing"
	"time"
)

// cutWorkers cuts all workers off from Redis for a moment: they do again what they cannot know to be done.
var cutWorkers = &faultKind{name: "workers-cut", holds: "links", do: func(d *damage) {
	d.place = "workers-redis"
	for _, w := range d.workers {
		w.back.cut()
	}
}}

// muteWorkers loses the replies to all workers first: what they did is done, and they do not know.
var muteWorkers = &faultKind{name: "workers-mute", holds: "links", from: 50 * time.Millisecond, to: 200 * time.Millisecond, do: func(d *damage) {
	d.place = "workers-redis"
	for _, w := range d.workers {
		w.back.hush(down)
	}
	d.wait()
	for _, w := range d.workers {
		w.back.cut()
	}
}}

// attempts is how often a defect may stay hidden: whether it shows is a matter of moments.
const attempts = 4

// TestDefects: the checker finds each deliberate defect, under faults that bring it out, and nothing where there is none.
func TestDefects(t *testing.T) {
	workers := func(d time.Duration) [2]time.Duration { return [2]time.Duration{0, d} }
	const short, long = 10 * time.Millisecond, 30 * time.Millisecond
	for _, c := range []struct {
		name  string  // the value of SLUICE_DEFECT
		want  []Class // one of these; none: every promise is kept
		fault *faultKind
		delay [2]time.Duration
		// A dropped event shows only if it comes while its history is read, and nothing comes after it: what Redis
		// publishes must be faster than what it answers.
		answers time.Duration
	}{
		{"none", nil, muteWorkers, workers(short), 0},
		{"takeover", []Class{Lost}, muteWorkers, workers(short), 0},
		{"ack-first", []Class{Lost}, cutWorkers, workers(short), 0},
		{"sessions-first", []Class{Lost, UnexplainedGap}, nil, workers(2 * long), 0},
		{"forward-twice", []Class{Repeated}, muteWorkers, workers(short), 0},
		{"no-buffer", []Class{Lost, UnexplainedGap}, nil, workers(0), 3 * long},
		{"lost-record", []Class{Lost}, nil, workers(0), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := usual()
			p.words = "none"
			p.duration, p.every, p.delay = 6*time.Second, 600*time.Millisecond, c.delay
			p.answers = c.answers
			p.stay, p.away, p.hosts = time.Second, 500*time.Millisecond, 5
			p.life, p.ttl = false, 24*time.Hour
			p.defects, p.env = true, []string{"SLUICE_DEFECT=" + c.name}
			p.kinds = nil
			if c.fault != nil {
				p.kinds = []*faultKind{c.fault}
			}
			if c.want == nil {
				if v := torture(t, p); !v.OK() {
					t.Errorf("the build for defects has one of its own:\n%s", v.Explain())
				}
				return
			}
			p.patience = 4 * time.Second // what is lost does not come
			found := 0
			for i := 0; i < attempts && found == 0; i++ {
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					v := torture(t, p)
					for _, class := range c.want {
						found += v.Counts[class]
					}
					if found > 0 {
						t.Log(v.Explain())
					}
				})
				p.seed++
			}
			if found == 0 {
				t.Errorf("the checker found no defect in %d runs, want %v", attempts, c.want)
			}
		})
	}
}
