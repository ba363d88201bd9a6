package torture

import (
	"fmt"
	"slices"
	"time"

	"sluice/shared/wire"
)

// event is all that is known of one number.
type event struct {
	tries  []*Append
	places []place
}

// place is an event's place in a history.
type place struct {
	to    string
	index int
}

func (e *event) to() string     { return e.tries[0].To }
func (e *event) live() bool     { return e.tries[0].Live }
func (e *event) poison() string { return e.tries[0].Poison }
func (e *event) has(o Outcome) bool {
	return slices.ContainsFunc(e.tries, func(a *Append) bool { return a.Outcome == o })
}

// checker compares the parts of a log.
type checker struct {
	log       *Log
	verdict   *Verdict
	events    map[int]*event
	disturbed []Fault
	ends      map[life]time.Time // when a history was taken away as a whole, or soon after
}

// life is one of the histories that a target had, one after the other.
type life struct {
	to     string
	number int
}

// Check judges a run.
func Check(log *Log) *Verdict {
	c := &checker{log: log, verdict: &Verdict{log: log}, events: map[int]*event{}, ends: map[life]time.Time{}}
	for i := range log.Appends {
		a := &log.Appends[i]
		e := c.events[a.N]
		if e == nil {
			e = &event{}
			c.events[a.N] = e
		}
		e.tries = append(e.tries, a)
	}
	for _, f := range log.Faults {
		if !f.Calm {
			c.disturbed = append(c.disturbed, f)
		}
	}
	for _, text := range log.Config.Odd {
		c.violation(Wrong, "", wire.ID{}, -1, "%s", text)
	}
	c.histories()
	for n, e := range c.events {
		c.event(n, e)
	}
	c.lanes()
	c.dead()
	c.unread()
	for _, client := range log.Clients {
		c.client(client)
	}
	return c.verdict
}

func (c *checker) violation(class Class, to string, id wire.ID, n int, format string, args ...any) {
	c.verdict.add(Violation{Class: class, To: to, ID: id, N: n, Text: fmt.Sprintf(format, args...)})
}

// histories checks that each one is a chain, and finds each event's places.
func (c *checker) histories() {
	for to, history := range c.log.Histories {
		var last wire.ID
		for i, s := range history {
			if s.Lost {
				if c.events[s.N] == nil {
					c.violation(Wrong, to, s.ID, s.N, "nobody has appended this event, which a lost master had")
				}
				continue
			}
			if !last.Less(s.ID) {
				c.violation(Reordered, to, s.ID, s.N, "the history's ids do not grow: it stands behind %v", last)
			}
			switch anew := beginsAnew(history, i); {
			case s.Prev == last && anew != Flushed:
			case s.Prev.IsZero() && anew != Kept:
			default:
				c.violation(UnexplainedGap, to, s.ID, s.N, "the history says prev %v, but the entry before is %v", s.Prev, last)
			}
			last = s.ID
			if s.Wiped == Evicted || s.Wiped == Flushed {
				c.ends[life{to, s.Life}] = s.Trimmed
			}
			e := c.events[s.N]
			if e == nil {
				c.violation(Wrong, to, s.ID, s.N, "nobody has appended this event")
				continue
			}
			e.places = append(e.places, place{to, i})
		}
	}
}

// beginsAnew says how the history was taken away as a whole just before its ith entry.
func beginsAnew(history []Stored, i int) Wipe {
	switch {
	case i == 0 || history[i-1].Life == history[i].Life:
		return Kept
	case history[i-1].Era != history[i].Era:
		return Flushed
	}
	return Evicted
}

// wiped reports whether an entry of a target's history may have been taken away by a time, and the history as a whole:
// with it, or later.
func (c *checker) wiped(to string, s Stored, by time.Time) bool {
	if s.heldAt(by) {
		return false
	}
	end, ended := c.ends[life{to, s.Life}]
	return s.Wiped != Kept || (ended && !end.After(by)) || (s.Era < len(c.log.Flushes) && !c.log.Flushes[s.Era].After(by))
}

// flushed reports whether FLUSHALL took a try of the event with it: what was known of its key has gone as well.
func (c *checker) flushed(n int, e *event) bool {
	return c.log.Flushed[n] || slices.ContainsFunc(e.places, func(p place) bool { return c.at(p).Era < len(c.log.Flushes) })
}

// again reports whether an event stands in more places than it may: one, or one between each FLUSHALL and the next if it
// was tried several times.
func (c *checker) again(e *event) bool {
	eras := map[int]bool{}
	for _, p := range e.places {
		eras[c.at(p).Era] = true
	}
	return len(eras) < len(e.places) || (len(e.places) > 1 && len(e.tries) == 1)
}

// event checks that what was accepted is retained, once, where it belongs, under the id that its producer was told.
func (c *checker) event(n int, e *event) {
	if e.poison() != "" {
		for _, p := range e.places {
			c.violation(Wrong, p.to, c.at(p).ID, n, "it had to become a dead letter (%s)", e.poison())
		}
		return
	}
	accepted := e.has(Acked)
	if accepted || len(e.places) > 0 {
		c.verdict.Events++
	}
	for _, p := range e.places {
		id := c.at(p).ID
		switch {
		case e.live():
			c.violation(Wrong, p.to, id, n, "it was not to be retained")
		case p.to != e.to():
			c.violation(Wrong, p.to, id, n, "it was appended to %s", e.to())
		case !accepted && !e.has(Open):
			c.violation(Wrong, p.to, id, n, "its producer was told that it was refused")
		}
	}
	switch {
	case e.live():
		return
	case c.again(e):
		c.violation(Repeated, e.to(), c.at(e.places[1]).ID, n, "it stands %d times in histories, the first time as %v",
			len(e.places), c.at(e.places[0]).ID)
	case len(e.places) == 0 && accepted && !c.log.Flushed[n]:
		c.violation(Lost, e.to(), e.acked().ID, n, "it was accepted over %v and is not in the history", e.acked().Way)
	case len(e.places) == 1 && (len(e.tries) == 1 || !c.flushed(n, e)):
		c.answers(n, e)
	}
}

func (c *checker) at(p place) Stored { return c.log.Histories[p.to][p.index] }

func (e *event) acked() *Append {
	i := slices.IndexFunc(e.tries, func(a *Append) bool { return a.Outcome == Acked })
	return e.tries[i]
}

// answers checks what the producers of an event were told. The entry's id of the intake is not the event's.
func (c *checker) answers(n int, e *event) {
	stored := c.at(e.places[0])
	var first wire.ID // of the entries that were accepted: with one key, the first of them is the event
	fresh, told := 0, 0
	for _, a := range e.tries {
		if a.Outcome != Acked {
			continue
		}
		switch a.Way {
		case Direct:
			if first.IsZero() || a.ID.Less(first) {
				first = a.ID
			}
		case Publish:
			told++
			if !a.Duplicate {
				fresh++
			}
			if a.ID != stored.ID {
				c.violation(Wrong, a.To, stored.ID, n, "its client was told %v", a.ID)
			}
		}
	}
	// A try without an answer may have been earlier than all that were accepted.
	if !first.IsZero() && first != stored.ID && !(e.has(Open) && stored.ID.Less(first)) {
		c.violation(Wrong, e.to(), stored.ID, n, "the first entry that was accepted is %v", first)
	}
	if fresh > 1 || (told > 0 && fresh == 0 && !e.has(Open)) {
		c.violation(Wrong, e.to(), stored.ID, n, "of %d tries %d were answered, of these %d as no duplicate", len(e.tries), told, fresh)
	}
}

// lanes checks that what one producer added, one after the other, stands in this order. Events of which the first try
// had no answer may stand anywhere: that try may run late.
func (c *checker) lanes() {
	type lane struct{ name, to string }
	latest := map[lane]place{}
	done := map[int]bool{}
	for i := range c.log.Appends {
		a := &c.log.Appends[i]
		e := c.events[a.N]
		if done[a.N] || len(e.places) != 1 || (len(e.tries) > 1 && c.flushed(a.N, e)) {
			continue
		}
		done[a.N] = true
		if a.Outcome != Acked {
			continue
		}
		key := lane{a.Lane, a.To}
		if last, ok := latest[key]; ok && e.places[0].index < last.index {
			before := c.at(last)
			c.violation(Reordered, a.To, c.at(e.places[0]).ID, a.N, "lane %s added event %d before it, which has the higher id %v",
				a.Lane, before.N, before.ID)
			continue
		}
		latest[key] = e.places[0]
	}
}

// dead checks that every dead letter is of an entry that deserved it, and that each of these is there once.
func (c *checker) dead() {
	letters := map[int]int{}
	type era struct{ n, era int }
	inEra := map[era]int{} // a flush takes the letter with it, and what keeps it from being added again
	for _, d := range c.log.Dead {
		e := c.events[d.N]
		switch {
		case e == nil:
			c.violation(Wrong, d.To, d.Entry, d.N, "a dead letter (%s) of %s that nobody can explain", d.Reason, d.Stream)
			continue
		case e.poison() == "" && c.forgotten(e, &d):
		case e.poison() == "":
			c.violation(Wrong, d.To, d.Entry, d.N, "a good event became a dead letter (%s) of %s", d.Reason, d.Stream)
		case e.poison() != d.Reason:
			c.violation(Wrong, d.To, d.Entry, d.N, "a dead letter for %s, want %s", d.Reason, e.poison())
		case e.has(Acked) && len(e.tries) == 1 && e.tries[0].ID != d.Entry:
			c.violation(Wrong, d.To, d.Entry, d.N, "a dead letter names this entry, its producer was told %v", e.tries[0].ID)
		}
		letters[d.N]++
		inEra[era{d.N, d.Era}]++
	}
	for of, n := range inEra {
		if e := c.events[of.n]; n > 1 && e != nil && e.poison() != "" {
			c.violation(Repeated, e.to(), e.tries[0].ID, of.n, "there are %d dead letters of it", n)
		}
	}
	for n, e := range c.events {
		if e.poison() == "" {
			continue
		}
		if letters[n] == 0 && e.has(Acked) && !c.log.Flushed[n] {
			c.violation(Lost, e.to(), e.acked().ID, n, "it deserved to be a dead letter (%s) and vanished", e.poison())
		}
	}
}

// forgotten reports whether nobody could know that an event had been appended and trimmed, when it came once more: that
// stands in the consumer group, and somebody deleted this.
func (c *checker) forgotten(e *event, d *DeadLetter) bool {
	return d.Reason == wire.ReasonOrder && len(e.places) > 0 && !c.at(e.places[0]).Trimmed.IsZero() &&
		slices.ContainsFunc(c.log.Faults, func(f Fault) bool {
			return f.Kind == "keys-group" && f.Place == d.Stream && f.End.After(time.UnixMilli(int64(d.Entry.Ms)))
		})
}

// aftermath is how long after a fault a worker may still repeat a batch: its connections time out, its lease runs out.
const aftermath = 15 * time.Second

// mayRepeat reports whether a worker may have published twice what came at these two times.
func (c *checker) mayRepeat(first, second time.Time) bool {
	return slices.ContainsFunc(c.disturbed, func(f Fault) bool {
		return f.Begin.Before(second) && f.End.Add(aftermath).After(first)
	})
}
