package torture

import (
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
var muteWorkers = &faultKind{name: "workers-mute", holds: "links", from: 150 * time.Millisecond, to: 200 * time.Millisecond, do: func(d *damage) {
	d.place = "workers-redis"
	for _, w := range d.workers {
		w.back.hush(down)
	}
	d.wait()
	for _, w := range d.workers {
		w.back.cut()
	}
}}

// TestDefects: the checker finds each deliberate defect, under faults that bring it out, and nothing where there is none.
func TestDefects(t *testing.T) {
	slowWorkers := [2]time.Duration{0, 30 * time.Millisecond}
	slowGateways := [2]time.Duration{50 * time.Millisecond, 0}
	for _, c := range []struct {
		name  string  // the value of SLUICE_DEFECT
		want  []Class // one of these; none: every promise is kept
		fault *faultKind
		delay [2]time.Duration
	}{
		{"none", nil, muteWorkers, slowWorkers},
		{"takeover", []Class{Lost}, muteWorkers, slowWorkers},
		{"ack-first", []Class{Lost}, cutWorkers, slowWorkers},
		{"sessions-first", []Class{Lost, UnexplainedGap}, nil, slowWorkers},
		{"forward-twice", []Class{Repeated}, muteWorkers, slowWorkers},
		{"no-buffer", []Class{Lost, UnexplainedGap}, nil, slowGateways},
		{"lost-record", []Class{Lost}, nil, [2]time.Duration{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := usual()
			p.words = "none"
			p.duration, p.every, p.delay = 6*time.Second, 700*time.Millisecond, c.delay
			p.stay, p.away, p.meet = time.Second, 500*time.Millisecond, 60*time.Millisecond
			if c.fault != nil {
				p.kinds = []*faultKind{c.fault}
			} else {
				p.kinds = nil
			}
			if c.want != nil {
				p.patience = 4 * time.Second // what is lost does not come
			}
			p.tag, p.env = "sluice_defects", []string{"SLUICE_DEFECT=" + c.name}
			v := torture(t, p)
			found := 0
			for _, class := range c.want {
				found += v.Counts[class]
			}
			switch {
			case c.want == nil && !v.OK():
				t.Errorf("the build for defects has one of its own:\n%s", v.Explain())
			case c.want != nil && found == 0:
				t.Errorf("the checker found no defect, want %v", c.want)
			case c.want != nil:
				t.Log(v.Explain())
			}
		})
	}
}
