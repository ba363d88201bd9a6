package live

import (
	"errors"
	"testing"
)

// TestSubscribedTwice: a client and a function may want the same target at the same time. There is one subscription, which
// gives each event once, and ends.
func TestSubscribedTwice(t *testing.T) {
	for _, target := range []string{room, "user:a"} {
		play(t, func(w *world) {
			p := w.person("a", 100)
			p.subscribe(target, Now())
			if err := p.Subscribe(p.ctx, []Request{{Target: room + "2"}, {Target: target}}, func([]Refusal) {}); !errors.Is(err, ErrSubscribed) {
				t.Errorf("the second time: %v", err)
			}
			if all := p.Targets(); len(all) != 1 || w.written[target] < 1 || w.written[room+"2"] != 0 {
				t.Errorf("subscribed to %v, sessions: %v", all, w.written)
			}
			w.publish(target, 2)
			p.has(target, 0, 2)
			p.leave()
			if w.flow.Each(target, func(*Client) {}) {
				t.Error("somebody is left")
			}
		})
	}
}
