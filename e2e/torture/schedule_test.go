package torture

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// faultKind is a kind of fault: what it is called, what it holds while it is on, how long that may be, and what it does.
// Two faults that hold the same part are never on together.
type faultKind struct {
	name     string
	holds    string
	from, to time.Duration
	calm     bool // touches nothing that publishes
	do       func(*damage)
}

// fault is one entry of a schedule.
type fault struct {
	*faultKind
	at, long time.Duration
	seed     uint64
}

func (f fault) String() string { return fmt.Sprintf("%v %s %v", f.at, f.name, f.long) }

// every is how long it takes on average from the begin of one fault to that of the next.
const every = time.Second

// draw draws a schedule: the kinds in an order that changes, so that each comes as often as the others.
func draw(seed uint64, duration, every time.Duration, kinds []*faultKind) (schedule []fault) {
	if len(kinds) == 0 {
		return nil
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	busy := map[string]time.Duration{}
	var deck []*faultKind
	at := every / 2
	for at < duration {
		if len(deck) == 0 {
			deck = slices.Clone(kinds)
			rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		next := slices.IndexFunc(deck, func(k *faultKind) bool { return busy[k.holds] <= at })
		if next < 0 {
			at += every / 4
			continue
		}
		k := deck[next]
		deck = slices.Delete(deck, next, next+1)
		f := fault{faultKind: k, at: at, long: k.from, seed: rng.Uint64()}
		if k.to > k.from {
			f.long += time.Duration(int64(stretch(duration)) * rng.Int64N(int64(k.to-k.from)))
		}
		f.long = f.long.Round(time.Millisecond)
		busy[k.holds] = at + f.long + every
		schedule = append(schedule, f)
		at += time.Duration(float64(every) * min(3, rng.ExpFloat64())).Round(time.Millisecond)
	}
	return schedule
}

// stretch is how much longer faults may be in a run that has the time.
func stretch(duration time.Duration) int {
	if duration >= 5*time.Minute {
		return 4
	}
	return 1
}

// choose picks the kinds whose names begin with one of the words; "all" and "" are all, "none" is none.
func choose(words string, kinds []*faultKind) (chosen []*faultKind, err error) {
	if words == "" {
		words = "all"
	}
	for word := range strings.SplitSeq(words, ",") {
		found := word == "none" || slices.Contains(habits, word)
		for _, k := range kinds {
			if word == "all" || (word != "" && strings.HasPrefix(k.name, word)) {
				found = true
				if !slices.Contains(chosen, k) {
					chosen = append(chosen, k)
				}
			}
		}
		if !found {
			return nil, fmt.Errorf("%q is no fault: want a list of all, none, or the begin of names in %s", word, names(kinds))
		}
	}
	return chosen, nil
}

// habits are what producers and clients do all the time, if they are chosen.
var habits = []string{"poison", "doze"}

func names(kinds []*faultKind) string {
	list := slices.Clone(habits)
	for _, k := range kinds {
		list = append(list, k.name)
	}
	return strings.Join(list, ",")
}

// TestSchedule: the same seed draws the same faults, none beside another that holds the same part, and each kind comes.
func TestSchedule(t *testing.T) {
	for seed := range uint64(20) {
		schedule := draw(seed, 5*time.Minute, every, kinds)
		if again := draw(seed, 5*time.Minute, every, kinds); fmt.Sprint(schedule) != fmt.Sprint(again) {
			t.Fatalf("seed %d draws two schedules", seed)
		}
		ends, came := map[string]time.Duration{}, map[string]bool{}
		for _, f := range schedule {
			if f.at < ends[f.holds] || f.long < f.from || (f.long > 4*f.to && f.to > 0) {
				t.Errorf("seed %d: %v while %s is held until %v", seed, f, f.holds, ends[f.holds])
			}
			ends[f.holds] = f.at + f.long
			came[f.name] = true
		}
		if len(came) != len(kinds) {
			t.Errorf("seed %d draws only %d kinds of %d", seed, len(came), len(kinds))
		}
	}
	if fmt.Sprint(draw(1, time.Minute, every, kinds)) == fmt.Sprint(draw(2, time.Minute, every, kinds)) {
		t.Error("two seeds draw the same")
	}
	for words, want := range map[string]int{"": len(kinds), "all": len(kinds), "none": 0, "worker-kill": 1, "worker-kill,worker": 5, "poison": 0} {
		if chosen, err := choose(words, kinds); err != nil || len(chosen) != want {
			t.Errorf("%q chooses %d kinds (%v), want %d", words, len(chosen), err, want)
		}
	}
	if _, err := choose("worker,earthquake", kinds); err == nil {
		t.Error("an unknown fault is chosen")
	}
}
