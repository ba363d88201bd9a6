package live

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/shared/wire"
)

const room = "topic:room"

func TestEveryoneHasEverything(t *testing.T) {
	play(t, func(w *world) {
		w.publish(room, 3)
		before, now := w.person("a", 100), w.person("b", 100)
		before.subscribe(room, Earliest())
		now.subscribe(room, Now())
		w.publish(room, 3)
		now.has(room, 3, 6)
		before.has(room, 0, 6)
		w.message(false, w.all[room][4]) // a repeat
		now.has(room, 3, 6)
		if n := w.written[room]; n != 2 {
			t.Errorf("%d sessions were asked for", n)
		}
		before.leave()
		w.publish(room, 1)
		now.has(room, 3, 7)
		now.leave()
		if n := w.written[room]; n != 1 { // that of the gateway ends with the last one
			t.Errorf("%d sessions are left", n)
		}
		w.publish(room, 1)
	})
}

// TestLostMessage: what comes behind it tells, a beat, or a new term.
func TestLostMessage(t *testing.T) {
	for name, tell := range map[string]func(w *world){
		"the next event":        func(w *world) { w.publish(room, 1) },
		"a beat":                func(w *world) { w.add(room); w.beat() },
		"an event of another":   func(w *world) { w.publish(sameShard(room), 1) },
		"the channel was lost":  func(w *world) { w.flow.MissedAll() },
		"the session was lost":  func(w *world) { w.flow.Missed(room, time.Now().UnixMilli()) },
		"another owner":         func(w *world) { w.epoch[partitionOf(room)]++; w.publish(sameShard(room), 1) },
		"a beat of another one": func(w *world) { w.epoch[partitionOf(room)]++; w.beat() },
		"an event before its own": func(w *world) {
			a, b := w.add(room), w.add(room)
			w.message(false, b)
			w.message(false, a)
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(w *world) {
				w.publish(room, 2)
				p := w.person("a", 100)
				p.subscribe(room, Now())
				other := w.person("b", 100)
				other.subscribe(sameShard(room), Now())
				w.message(true, w.add(room))
				w.message(true, w.add(room))
				tell(w)
				synctest.Wait()
				p.has(room, 2, len(w.all[room]))
				p.leave()
				other.leave()
			})
		})
	}
}

// sameShard is another target of the partition.
func sameShard(target string) string {
	for i := 0; ; i++ {
		if other := fmt.Sprint("topic:other", i); partitionOf(other) == partitionOf(target) {
			return other
		}
	}
}

// TestNoRoom: a client that reads slowly has everything, in order, and is reported while it
// has no room; others do not wait for it.
func TestNoRoom(t *testing.T) {
	play(t, func(w *world) {
		slow, quick := w.person("slow", 8), w.person("quick", 1000)
		slow.subscribe(room, Now())
		quick.subscribe(room, Now())
		w.publish(room, 300)
		synctest.Wait()
		quick.has(room, 0, 300)
		if !slow.lags[room] {
			t.Error("nobody heard that it has no room")
		}
		w.publish(room, 10)
		slow.has(room, 0, 310)
		if slow.lags[room] {
			t.Error("it still counts as slow")
		}
		w.publish(room, 5) // in the live flow again
		reads := w.reads
		slow.has(room, 0, 315)
		if w.reads != reads {
			t.Error("it is not in the live flow")
		}
		slow.leave()
		quick.leave()
	})
}

// TestGap: only what is not there any more is told, and what is there comes.
func TestGap(t *testing.T) {
	for _, retained := range []bool{false, true} {
		t.Run(fmt.Sprint("retained ", retained), func(t *testing.T) {
			play(t, func(w *world) {
				w.publish(room, 10)
				had := w.all[room][2].ID
				w.trim(room, 4)
				p := w.person("a", 100)
				if err := p.Subscribe(p.ctx, []Request{{Target: room, Start: After(had), Retained: retained}}, func([]Refusal) {}); err != nil {
					t.Fatal(err)
				}
				w.publish(room, 2)
				from := 10
				if retained {
					from = 6
				}
				p.has(room, from, 12)
				gap := p.seen[0]
				want := frame{Type: "gap", To: room, Reason: "trimmed", After: had, Position: w.all[room][from-1].ID}
				if gap.Type != want.Type || gap.Reason != want.Reason || gap.After != want.After || gap.Position != want.Position {
					t.Errorf("%+v, want %+v", gap, want)
				}
				p.leave()
			})
		})
	}
}

// TestLostWhileSlow: what a client had no room for is known to be missing. If Redis loses it before the client has room, it
// is told of a gap, however long ago its last event was: that the channel has worked since says nothing.
func TestLostWhileSlow(t *testing.T) {
	play(t, func(w *world) {
		p := w.person("p", 1)
		if err := p.Subscribe(p.ctx, []Request{{Target: room, Retained: true}}, func([]Refusal) {}); err != nil {
			t.Fatal(err)
		}
		p.readAll()
		w.publish(room, 1)
		p.has(room, 0, 1)
		time.Sleep(2 * time.Hour) // its position is older than histories get
		w.message(true, w.add(room), w.add(room), w.add(room))
		w.beat() // so what was lost on the way is read, and there is room for one
		time.Sleep(time.Second)
		synctest.Wait()

		w.mu.Lock()
		lost := w.all[room]
		w.stored[room], w.all[room] = nil, nil
		w.mu.Unlock()
		w.publish(room, 1)
		p.readAll()
		var told []string
		for _, f := range p.seen {
			told = append(told, fmt.Sprint(f.Type, " ", f.ID.Ms+f.After.Ms))
		}
		want := []string{
			fmt.Sprint("event ", lost[0].ID.Ms), fmt.Sprint("event ", lost[1].ID.Ms),
			fmt.Sprint("gap ", lost[1].ID.Ms), fmt.Sprint("event ", w.all[room][0].ID.Ms),
		}
		if got := told[len(told)-min(len(told), len(want)):]; !slices.Equal(got, want) {
			t.Errorf("it was told %v, want %v in the end", told, want)
		}
		p.leave()
	})
}

// TestLostInAHole: of what lies in a hole of the live flow it is known that it was there, so a client is told of it, too,
// if the history has gone before it could be read.
func TestLostInAHole(t *testing.T) {
	play(t, func(w *world) {
		p := w.person("p", 100)
		p.subscribe(room, Now())
		p.readAll()
		w.publish(room, 1)
		p.has(room, 0, 1)
		time.Sleep(2 * time.Hour)
		w.message(true, w.add(room))
		third := w.add(room)
		w.mu.Lock()
		w.stored[room] = nil
		w.mu.Unlock()
		w.message(false, third)
		p.readAll()
		if _, told := p.events(room); told.Type != "gap" {
			t.Errorf("it was told %+v, want a gap", told)
		}
		p.leave()
	})
}

// TestRedisIsAway: what was subscribed goes on when it is back; a subscription that had no
// answer is refused in time.
func TestRedisIsAway(t *testing.T) {
	play(t, func(w *world) {
		p := w.person("a", 1000)
		p.subscribe(room, Now())
		w.down = true
		w.message(true, w.add(room))
		w.beat()
		sub, _ := p.Get(room)
		done := make(chan error, 1)
		go func() {
			_, err := p.Move(p.ctx, sub, &Request{Target: room, Ref: "r", Start: Earliest()})
			done <- err
		}()
		if err := <-done; err == nil {
			t.Error("it moved while nothing can be read")
		}
		time.Sleep(time.Minute)
		w.publish(room, 1)
		w.mu.Lock()
		w.down = false
		w.mu.Unlock()
		time.Sleep(5 * time.Second)
		p.has(room, 0, 2)
		p.leave()
	})
}

// TestNodeIsAway: while one node of a Cluster is away what was lost of targets on others is read again, and what they have is read for
// newcomers, however many targets cannot be.
func TestNodeIsAway(t *testing.T) {
	play(t, func(w *world) {
		p := w.person("a", 10_000)
		var away, there []string
		for i := 0; len(away) < 5*rereadBatch || len(there) < 5; i++ {
			switch to := fmt.Sprint("topic:", i); {
			case partitionOf(to) == 0 && len(away) < 5*rereadBatch:
				away = append(away, to)
			case partitionOf(to) == 1 && len(there) < 5:
				there = append(there, to)
			}
		}
		for _, to := range append(slices.Clone(away), there...) {
			p.subscribe(to, Now())
		}
		w.mu.Lock()
		w.away = map[int]bool{0: true}
		w.mu.Unlock()
		all := append(slices.Clone(away), there...)
		for _, to := range all {
			w.message(true, w.add(to))
		}
		w.beat()
		time.Sleep(5 * time.Second)
		for _, to := range there {
			p.has(to, 0, 1)
		}
		for _, to := range away {
			p.has(to, 0, 0)
		}
		q := w.person("b", 1000)
		q.subscribe(there[0], Earliest())
		q.readAll()
		if events, _ := q.events(there[0]); len(events) != 1 {
			t.Errorf("a newcomer has %d events", len(events))
		}
		w.mu.Lock()
		w.away = nil
		w.mu.Unlock()
		time.Sleep(5 * time.Second)
		for _, to := range all {
			p.has(to, 0, 1)
		}
		p.leave()
		q.leave()
	})
}

// TestNoCursor: while a device's cursors cannot be written, a new subscription is refused and is none, and one that
// moves is answered later: never both.
func TestNoCursor(t *testing.T) {
	play(t, func(w *world) {
		p := w.person("a", 1000)
		p.Keeps("alice", true, false)
		w.publish(room, 3)
		cursors := func(there bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.deaf = !there
		}
		answers := func(want string) {
			t.Helper()
			p.readAll()
			var got []string
			for _, f := range p.seen {
				if f.Type != "event" {
					got = append(got, f.Type+" "+f.Ref)
				}
			}
			if strings.Join(got, ", ") != want {
				t.Fatalf("the answers are %q, want %q", strings.Join(got, ", "), want)
			}
		}
		cursors(false)
		if err := p.Subscribe(p.ctx, []Request{{Target: room, Ref: "1", Start: Earliest()}}, func([]Refusal) {}); err == nil {
			t.Error("it subscribed without a cursor")
		}
		if sub, _ := p.Get(room); sub != nil {
			t.Error("there is a subscription that was refused")
		}
		cursors(true)
		answers("")
		p.has(room, 0, 0)
		if err := p.Subscribe(p.ctx, []Request{{Target: room, Ref: "2", Start: Earliest()}}, func([]Refusal) {}); err != nil {
			t.Fatal(err)
		}
		answers("subscribed 2")
		p.has(room, 0, 3)
		sub, _ := p.Get(room)
		cursors(false)
		if ok, err := p.Move(p.ctx, sub, &Request{Target: room, Ref: "3", Start: Now()}); !ok || err != nil {
			t.Errorf("it cannot move: %v", err)
		}
		if ok, err := p.Move(p.ctx, sub, &Request{Target: room, Ref: "4", Start: After(w.stored[room][2].ID)}); !ok || err != nil {
			t.Errorf("it cannot move: %v", err)
		}
		time.Sleep(time.Minute)
		cursors(true)
		answers("subscribed 2, subscribed 3, subscribed 4")
		w.publish(room, 2)
		p.has(room, 0, 5)
		p.leave()
	})
}

// TestEndedWhileBehind: of a subscription that ends while it waits for room or for its cursor nothing more is done.
func TestEndedWhileBehind(t *testing.T) {
	play(t, func(w *world) {
		p := w.person("a", 1)
		p.Keeps("alice", true, false)
		const other = "topic:other"
		w.publish(room, 3)
		w.publish(other, 3)
		p.subscribe(room, Earliest()) // waits for room
		p.mu.Lock()
		p.deaf = true
		p.mu.Unlock()
		p.subscribe(other, Earliest()) // waits behind it, and for its cursor
		p.End(room)
		p.read(1)
		time.Sleep(time.Second)
		p.End(other)
		p.readAll() // or somebody would be busy for ever
		p.mu.Lock()
		p.deaf = false
		p.mu.Unlock()
		p.readAll()
		if !slices.Equal(p.begun, []string{room}) {
			t.Errorf("cursors of %v have begun, want that of %s only", p.begun, room)
		}
		p.leave()
	})
}

// TestStoodStill: what must not begin for a device, since its gateway stood still, never does, however it is tried: a new subscription is
// refused, also by the feeder, and the connection of one that has moved ends.
func TestStoodStill(t *testing.T) {
	play(t, func(w *world) {
		p := w.person("a", 1000)
		p.Keeps("alice", true, false)
		w.publish(room, 3)
		set := func(still bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.still = still
		}
		set(true)
		subscribe := func(ref, target string) error {
			return p.Subscribe(p.ctx, []Request{{Target: target, Ref: ref, Start: Earliest()}}, func([]Refusal) {})
		}
		if err := subscribe("1", room); !errors.Is(err, ErrStoodStill) {
			t.Errorf("it subscribed: %v", err)
		}
		set(false)
		if err := subscribe("2", room); err != nil {
			t.Fatal(err)
		}
		p.has(room, 0, 3)

		// The feeder waits with another one for room, so it tries the next.
		const other = "topic:other"
		w.publish(other, 3)
		p.room = 1
		if err := subscribe("3", other); err != nil {
			t.Fatal(err)
		}
		p.End(room)
		if err := subscribe("4", room); err != nil {
			t.Errorf("it was refused before the feeder tried: %v", err)
		}
		set(true)
		p.has(other, 0, 3)
		if sub, _ := p.Get(room); sub != nil {
			t.Error("there is a subscription that was refused")
		}
		sub, _ := p.Get(other)
		if sub == nil || p.sent {
			t.Fatal("one that was there before has ended")
		}
		if ok, err := p.Move(p.ctx, sub, &Request{Target: other, Ref: "5", Start: Earliest()}); !ok || err != nil {
			t.Errorf("it cannot move: %v", err)
		}
		p.readAll()
		var got []string
		for _, f := range p.seen {
			if f.Type != "event" {
				got = append(got, f.Type+" "+f.Ref)
			}
		}
		if want := []string{"subscribed 2", "subscribed 3", "error 4"}; !slices.Equal(got, want) || !p.sent {
			t.Errorf("the answers are %q, want %q; sent away: %v", got, want, p.sent)
		}
		p.leave()
	})
}

// TestDeafForLong: the channel was lost for longer than histories live, an event came meanwhile and went with its
// history. That the channel works again does not say that nothing was missed.
func TestDeafForLong(t *testing.T) {
	play(t, func(w *world) {
		w.publish(room, 2)
		p := w.person("a", 100)
		p.subscribe(room, Now())
		set := func(down bool, deafSince int64) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.down = down
			w.deafSince.Store(deafSince)
		}
		set(true, time.Now().UnixMilli())
		time.Sleep(2 * time.Duration(w.flow.o.TTLMs) * time.Millisecond)
		w.message(true, w.add(room))
		w.flow.MissedAll()
		set(true, 0)
		time.Sleep(time.Second)
		w.trim(room, 0)
		e := w.add(room)
		e.Prev, e.First = wire.ID{}, true
		w.mu.Lock()
		w.stored[room] = []wire.Event{e}
		w.mu.Unlock()
		w.message(false, e)
		time.Sleep(time.Second)
		set(false, 0)
		p.readAll()
		if got, told := p.events(room); told.Type != "gap" || len(got) != 1 || got[0] != e.ID {
			t.Errorf("it got %v and was told %q, want a gap and %v", got, told.Type, e.ID)
		}
		p.leave()
	})
}

// TestSessionGoneForLong: the same, and the channel worked: there was no session, so nobody published to this gateway.
func TestSessionGoneForLong(t *testing.T) {
	play(t, func(w *world) {
		w.publish(room, 2)
		p := w.person("a", 100)
		p.subscribe(room, Now())
		since, life := time.Now().UnixMilli(), time.Duration(w.flow.o.TTLMs)*time.Millisecond
		time.Sleep(2 * life)
		w.message(true, w.add(room))
		time.Sleep(2 * life)
		w.trim(room, 0)
		w.flow.Missed(room, since)
		time.Sleep(time.Second)
		p.readAll()
		if _, told := p.events(room); told.Type != "gap" || told.Reason != wire.GapExpired {
			t.Errorf("it was told %q %q, want a gap", told.Type, told.Reason)
		}
		p.leave()
	})
}

// TestChance plays clients that come, go, move and read as they like, while messages are
// lost and reads are slow. In the end each has had every event since it came, once and in
// order.
func TestChance(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			play(t, func(w *world) { chance(w, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func chance(w *world, rng *rand.Rand) {
	targets := []string{"topic:a", "topic:b", "topic:c"}
	any := func() string { return targets[rng.IntN(len(targets))] }
	w.slow = time.Duration(rng.IntN(20)) * time.Millisecond
	var people []*person
	for i := range 4 {
		p := w.person(fmt.Sprint("p", i), 4+rng.IntN(30))
		p.Keeps("", false, i == 3)
		people = append(people, p)
	}
	for range 400 {
		p := people[rng.IntN(len(people))]
		switch rng.IntN(10) {
		case 0, 1, 2, 3:
			w.message(rng.IntN(5) == 0, w.add(any()))
		case 4:
			target := any()
			if sub, _ := p.Get(target); sub == nil {
				go p.subscribe(target, Now())
			}
		case 5:
			target := any()
			if sub, _ := p.Get(target); sub != nil && len(w.all[target]) > 0 {
				at := w.all[target][rng.IntN(len(w.all[target]))].ID
				go func() { _, _ = p.Move(p.ctx, sub, &Request{Target: target, Ref: "m", Start: After(at)}) }()
			}
		case 6:
			w.beat()
		case 7, 8:
			p.read(1 + rng.IntN(20))
		case 9:
			time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
		}
		synctest.Wait()
	}
	w.beat()
	for _, p := range people {
		p.readAll()
		for _, target := range targets {
			p.continues(target)
		}
	}
	for _, p := range people {
		p.leave()
	}
}

// continues checks what came for a target: from each `subscribed` on event after event, and
// in the end the newest.
func (p *person) continues(target string) {
	p.w.t.Helper()
	all := p.w.all[target]
	at := map[wire.ID]int{{}: -1}
	for i, e := range all {
		at[e.ID] = i
	}
	subscribed, next := false, 0
	for _, f := range p.seen {
		if f.To != target {
			continue
		}
		switch f.Type {
		case "subscribed":
			subscribed, next = true, at[f.Position]+1
		case "event":
			if !subscribed || at[f.ID] != next {
				p.w.t.Errorf("%s: %s: event %d came when %d was next", p.id, target, at[f.ID], next)
				return
			}
			next++
		case "gap":
			p.w.t.Errorf("%s: %s: a gap was told: %+v", p.id, target, f)
		}
	}
	if subscribed && next != len(all) {
		p.w.t.Errorf("%s: %s: %d of %d came", p.id, target, next, len(all))
	}
}
