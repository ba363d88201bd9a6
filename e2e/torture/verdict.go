package torture

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice/shared/wire"
)

// Class is the promise that a Violation breaks.
type Class byte

// The classes.
const (
	Lost           Class = iota // accepted or retained, and not there or not received
	Repeated                    // in two places, or received twice
	Reordered                   // against the order of its history, or of its producer
	UnexplainedGap              // a broken chain of prev, or a gap though nothing had been trimmed
	Wrong                       // anything else: an event that nobody appended, a dead letter that nobody can explain
	classes
)

func (c Class) String() string {
	return [...]string{"lost", "repeated", "reordered", "unexplained gaps", "otherwise wrong"}[c]
}

// Violation is one broken promise.
type Violation struct {
	Class  Class
	To     string
	Client string // "" if it shows without any client
	ID     wire.ID
	N      int // -1 if it concerns no event
	Text   string
}

func (v Violation) String() string {
	who := ""
	if v.Client != "" {
		who = " at client " + v.Client
	}
	event := ""
	if v.N >= 0 {
		event = fmt.Sprintf(" event %d", v.N)
	}
	return fmt.Sprintf("%v: %s%s, id %v%s: %s", v.Class, v.To, event, v.ID, who, v.Text)
}

// Verdict is the outcome of a run.
type Verdict struct {
	Events     int // accepted, or retained
	Deliveries int // event frames at all clients
	Gaps       int // told to clients
	Acks       int // by devices
	Resumed    int // targets, from a device's cursor
	Unread     int // events of which functions heard
	Read       int // events of which they might have, and did not: a device had acknowledged them
	Counts     [classes]int
	Violations []Violation // the first of them
	log        *Log
}

// keptViolations bounds a Verdict: one defect may break a promise a hundred thousand times.
const keptViolations = 1000

func (v *Verdict) add(w Violation) {
	v.Counts[w.Class]++
	if len(v.Violations) < keptViolations {
		v.Violations = append(v.Violations, w)
	}
}

// OK reports whether every promise was kept, and all was done in the end.
func (v *Verdict) OK() bool { return v.Counts == [classes]int{} && v.log.Config.Unsettled == "" }

// String is the outcome as one line.
func (v *Verdict) String() string {
	kinds := map[string]int{}
	for _, f := range v.log.Faults {
		kinds[f.Kind]++
	}
	var faults []string
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		faults = append(faults, fmt.Sprintf("%s %d", k, kinds[k]))
	}
	counts := make([]string, classes)
	for c := range classes {
		counts[c] = fmt.Sprintf("%v %d", c, v.Counts[c])
	}
	if v.log.Config.Unsettled != "" {
		counts = append(counts, "not settled: "+v.log.Config.Unsettled)
	}
	return fmt.Sprintf("%d events, %d deliveries, %d gaps told, %d acks, %d targets resumed by device, %d unread, %d read, %d faults (%s): %s",
		v.Events, v.Deliveries, v.Gaps, v.Acks, v.Resumed, v.Unread, v.Read, len(v.log.Faults), strings.Join(faults, ", "), strings.Join(counts, ", "))
}

const (
	neighbours = 3               // entries of a history on either side of the one concerned
	around     = 3 * time.Second // what is told of the time before and after
	mostTold   = 100             // lines
)

// Explain tells the shortest history among the targets of which a promise was broken: what was appended, retained, seen
// and done around the first violation.
func (v *Verdict) Explain() string {
	if len(v.Violations) == 0 {
		return ""
	}
	shortest := v.Violations[0]
	for _, w := range v.Violations {
		if len(v.log.Histories[w.To]) < len(v.log.Histories[shortest.To]) {
			shortest = w
		}
	}
	s := newStory(v.log, shortest)
	return fmt.Sprintf("%v\n%s", shortest, strings.Join(s.tell(), "\n"))
}

// story is what is told about a violation.
type story struct {
	log    *Log
	about  Violation
	ids    map[wire.ID]bool
	events map[int]bool
	lines  []line
}

type line struct {
	at   time.Time
	text string
}

func newStory(log *Log, about Violation) *story {
	s := &story{log: log, about: about, ids: map[wire.ID]bool{about.ID: true}, events: map[int]bool{about.N: about.N >= 0}}
	history := log.Histories[about.To]
	at, _ := slices.BinarySearchFunc(history, about.ID, func(e Stored, id wire.ID) int { return compare(e.ID, id) })
	for _, e := range history[max(0, at-neighbours):min(len(history), at+neighbours+1)] {
		s.ids[e.ID], s.events[e.N] = true, true
	}
	return s
}

func (s *story) add(at time.Time, format string, args ...any) {
	s.lines = append(s.lines, line{at, at.Format("15:04:05.000 ") + fmt.Sprintf(format, args...)})
}

func (s *story) tell() []string {
	for i := range s.log.Appends {
		if a := &s.log.Appends[i]; s.events[a.N] {
			s.add(a.At, "append   event %d over %v, lane %s, key %q: %s", a.N, a.Way, a.Lane, a.Key, a.outcome())
		}
	}
	for _, e := range s.log.Histories[s.about.To] {
		if s.ids[e.ID] || s.events[e.N] {
			s.add(time.UnixMilli(int64(e.ID.Ms)), "history  id %v prev %v event %d", e.ID, e.Prev, e.N)
		}
	}
	for _, d := range s.log.Dead {
		if s.events[d.N] {
			s.add(time.UnixMilli(int64(d.Entry.Ms)), "dead     event %d, %s %v: %s", d.N, d.Stream, d.Entry, d.Reason)
		}
	}
	for _, c := range s.log.Clients {
		s.got(c)
	}
	if len(s.lines) > 0 {
		byTime := func(a, b line) int { return a.at.Compare(b.at) }
		slices.SortStableFunc(s.lines, byTime)
		begin, end := s.lines[0].at.Add(-around), s.lines[len(s.lines)-1].at.Add(around)
		for _, c := range s.log.Clients {
			s.did(c, begin, end)
		}
		s.faults(begin, end)
		slices.SortStableFunc(s.lines, byTime)
	}
	told := make([]string, 0, len(s.lines))
	for _, l := range s.lines {
		told = append(told, l.text)
	}
	if len(told) > mostTold {
		told = append(told[:mostTold/2], append([]string{"..."}, told[len(told)-mostTold/2:]...)...)
	}
	return told
}

// got tells which of the events concerned a client got; of all clients if it is not about one.
func (s *story) got(c *Client) {
	for i := range c.Frames {
		f := &c.Frames[i]
		event := f.Kind == Event || f.Kind == Skip || f.Kind == LiveOnly
		if event && s.about.concerns(c) && f.To == s.about.To && (s.ids[f.ID] || (f.Kind == LiveOnly && s.events[f.N])) {
			s.add(f.At, "client   %s on gateway %d: %v", c.Name, f.Gateway, f)
		}
	}
}

// did tells what else a client saw of the target, and its connections.
func (s *story) did(c *Client, begin, end time.Time) {
	for i := range c.Frames {
		f := &c.Frames[i]
		if !s.about.concerns(c) || f.At.Before(begin) || f.At.After(end) {
			continue
		}
		switch f.Kind {
		case Event, Skip, LiveOnly:
		case Connected, Closed:
			if s.about.Client != "" {
				s.add(f.At, "client   %s on gateway %d: %v", c.Name, f.Gateway, f)
			}
		default:
			if f.To == s.about.To {
				s.add(f.At, "client   %s on gateway %d: %v", c.Name, f.Gateway, f)
			}
		}
	}
}

func (v *Violation) concerns(c *Client) bool { return v.Client == "" || v.Client == c.Name }

// faults adds those that were on during what is told.
func (s *story) faults(begin, end time.Time) {
	for _, f := range s.log.Faults {
		if f.End.After(begin) && f.Begin.Before(end) {
			s.add(f.Begin, "fault    %s of %s, %v long", f.Kind, f.Place, f.End.Sub(f.Begin).Round(time.Millisecond))
		}
	}
}

func (a *Append) outcome() string {
	switch a.Outcome {
	case Acked:
		return fmt.Sprintf("accepted as %v, duplicate %v", a.ID, a.Duplicate)
	case Refused:
		return "refused"
	}
	return "no answer"
}

func (f *Frame) String() string {
	switch f.Kind {
	case Connected:
		return "connected as " + f.Text
	case Ack:
		return fmt.Sprintf("acknowledges %v", f.ID)
	case Asked:
		switch {
		case f.Device:
			return fmt.Sprintf("asks for what follows its cursor, which was %v", f.ID)
		case f.After:
			return fmt.Sprintf("asks for what follows %v", f.ID)
		case f.Earliest:
			return "asks for all that is retained"
		}
		return "asks for what comes from now on"
	case Closed:
		return "disconnected: " + f.Text
	case Subscribed:
		return fmt.Sprintf("subscribed, position %v, recovered %v", f.ID, f.OK)
	case Unsubscribed:
		return "unsubscribed"
	case Event:
		return fmt.Sprintf("gets id %v prev %v event %d", f.ID, f.Prev, f.N)
	case Skip:
		return fmt.Sprintf("gets skip id %v prev %v", f.ID, f.Prev)
	case LiveOnly:
		return fmt.Sprintf("gets live-only event %d", f.N)
	}
	return fmt.Sprintf("gets gap after %v, position %v, %s", f.Prev, f.ID, f.Text)
}

func compare(a, b wire.ID) int {
	switch {
	case a.Less(b):
		return -1
	case b.Less(a):
		return 1
	}
	return 0
}
