package live

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
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

// TestLiveOnlyWhileMoved: what is live only and comes while a position is moved again comes behind that.
func TestLiveOnlyWhileMoved(t *testing.T) {
	play(t, func(w *world) {
		w.publish(room, 3)
		p := w.person("a", 100)
		p.subscribe(room, Now())
		p.readAll()
		s, _ := p.Get(room)
		w.slow = 100 * time.Millisecond
		go func() { _, _ = p.Move(p.ctx, s, &Request{Target: room, Ref: "1", Start: After(w.all[room][2].ID)}) }()
		synctest.Wait()
		if ok, err := p.Move(p.ctx, s, &Request{Target: room, Ref: "2", Start: Earliest()}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		w.liveOnly(room)
		p.readAll()
		ids, told := p.events(room)
		if n := len(ids); n < 4 || !ids[n-1].IsZero() || told.Ref != "2" {
			t.Errorf("%v came, then %+v", ids, told)
		}
		p.leave()
	})
}

// TestMendedInPages: what waits for a history of several pages is not lost because the first one does not reach it.
func TestMendedInPages(t *testing.T) {
	play(t, func(w *world) {
		p := w.person("a", 1000)
		p.subscribe(room, Now())
		for range 5 * pieceEvents {
			w.message(true, w.add(room))
		}
		w.publish(room, 3)
		p.has(room, 0, 5*pieceEvents+3)
		if n := testutil.ToFloat64(w.flow.o.Metrics.Drops.WithLabelValues(dropLost)); n != 0 {
			t.Errorf("%v count as lost with their history", n)
		}
		p.leave()
	})
}

// TestLeftWhileMended: a subscription that is catching up has everything, also if all others leave while more waits for the
// history than is held.
func TestLeftWhileMended(t *testing.T) {
	play(t, func(w *world) {
		w.publish(room, 1)
		other, p := w.person("b", 10000), w.person("a", 10000)
		other.subscribe(room, Now())
		w.slow = time.Second
		w.message(true, w.add(room))
		w.publish(room, 1) // for the next two seconds the history is read again
		p.Keeps("a", true, false)
		p.slowly = 3 * time.Second // behind its own read
		go p.subscribe(room, Now())
		time.Sleep(1500 * time.Millisecond)
		w.publish(room, 2*maxHeld)
		other.leave()
		time.Sleep(10 * time.Second)
		p.has(room, 3, 3+2*maxHeld)
		p.leave()
	})
}

// TestEndedBeforeCursor: a subscription that ends when its history was read, and before its device's cursor is begun, begins none.
func TestEndedBeforeCursor(t *testing.T) {
	play(t, func(w *world) {
		w.publish(room, 1)
		p := w.person("a", 100)
		p.Keeps("a", true, false)
		p.slowly = time.Second // until it is asked where to begin
		go p.subscribe(room, Now())
		go p.subscribe(room+"2", Now())
		synctest.Wait()
		time.Sleep(time.Second / 2)
		p.End(room)
		p.End(room + "2")
		p.readAll()
		if len(p.begun) != 0 {
			t.Errorf("cursors of %v", p.begun)
		}
		p.leave()
	})
}

// TestSomeCannotBeRead: after an error there is none of many subscriptions, neither those that were told nor those that nobody has
// read for yet.
func TestSomeCannotBeRead(t *testing.T) {
	play(t, func(w *world) {
		p := w.person("a", 1000)
		var wants []Request
		for i := range 3 * feedTargets {
			wants = append(wants, Request{Target: fmt.Sprint(room, i)})
		}
		w.slow = time.Second
		go func() {
			time.Sleep(1500 * time.Millisecond) // those of the first round trip are there
			w.mu.Lock()
			w.down, w.slow = true, 0
			w.mu.Unlock()
		}()
		if err := p.Subscribe(p.ctx, wants, func([]Refusal) {}); err == nil {
			t.Error("no error")
		}
		w.mu.Lock()
		w.down = false
		w.mu.Unlock()
		if all := p.Targets(); len(all) != 0 {
			t.Errorf("%d subscriptions are left", len(all))
		}
		for _, one := range wants {
			if w.written[one.Target] != 0 {
				t.Errorf("a session of %s is left", one.Target)
			}
		}
		p.subscribe(wants[len(wants)-1].Target, Now())
		p.readAll()
		if _, told := p.events(wants[len(wants)-1].Target); told.Type != "subscribed" {
			t.Errorf("asked again: %+v", told)
		}
		p.leave()
	})
}
