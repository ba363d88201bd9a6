package torture

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// journal collects what is done in a run.
type journal struct {
	mu      sync.Mutex
	events  int // numbers given
	appends []Append
	faults  []Fault

	keys []sharedKey
	odd  []string

	wiping sync.Mutex // held by what chooses ids, and by what deletes everything; guards jumped
	jumped int64      // Redis's time in ms of the highest id that was chosen ahead of time
}

// number is that of a new event.
func (j *journal) number() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events++
	return j.events
}

// begin notes a try before it is made, and returns its place in the log.
func (j *journal) begin(a Append) int {
	a.At = time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.appends = append(j.appends, a)
	return len(j.appends) - 1
}

// end notes what came of it.
func (j *journal) end(try int, o Outcome, id wire.ID, duplicate bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	a := &j.appends[try]
	a.Outcome, a.ID, a.Duplicate = o, id, duplicate
}

func (j *journal) try(i int) Append {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.appends[i]
}

func (j *journal) fault(f Fault) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.faults = append(j.faults, f)
}

// complain notes what no client should see.
func (j *journal) complain(format string, args ...any) {
	const most = 100
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.odd) < most {
		j.odd = append(j.odd, fmt.Sprintf(format, args...))
	}
}

// sharedKey is an idempotency key that several use for events of their own, each once.
type sharedKey struct {
	to, key string
	used    map[string]bool // by whom: a user, or "" for backends
}

// key draws a key that somebody else has used and who has not, or a fresh one for a target.
func (j *journal) key(who, to string, rng *rand.Rand) (target, key string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := max(0, len(j.keys)-20); i < len(j.keys); i++ {
		if k := j.keys[i]; !k.used[who] && rng.IntN(2) == 0 {
			k.used[who] = true
			return k.to, k.key
		}
	}
	j.keys = append(j.keys, sharedKey{to, fmt.Sprintf("shared-%d", len(j.keys)), map[string]bool{who: true}})
	return to, j.keys[len(j.keys)-1].key
}

// numberOf is the number of the event in an entry whose fields' names begin with a prefix, -1 if there is none.
func numberOf(m redis.XMessage, prefix string) int {
	text := func(name string) string { s, _ := m.Values[prefix+name].(string); return s }
	if n, err := strconv.Atoi(text("n")); err == nil {
		return n
	}
	return numbered(text("event"))
}

// outcome is what an answer of Redis to an XADD says.
func outcome(id string, err error) (Outcome, wire.ID) {
	var refusal redis.Error
	switch {
	case err == nil:
		parsed, err := wire.ParseID(id)
		if err != nil {
			return Open, wire.ID{}
		}
		return Acked, parsed
	case errors.As(err, &refusal):
		return Refused, wire.ID{}
	}
	return Open, wire.ID{}
}

// payload is the data of an event, which follows from its number: JSON of one byte up to the largest that there may be.
func payload(n int) string {
	rng := rand.New(rand.NewPCG(uint64(n), 4))
	size := 2
	switch i := rng.IntN(300); {
	case i == 0:
		size = maxData - rng.IntN(2)
	case i < 15:
		return strconv.Itoa(n % 10)
	case i < 30:
		size += rng.IntN(6000)
	case i < 120:
		size += rng.IntN(300)
	}
	return `"` + strings.Repeat(string(rune('a'+n%26)), size-2) + `"`
}

// nameOf is an event's name, by which its number is known, whatever its data.
func nameOf(n int) string { return "n" + strconv.Itoa(n) }

// numbered is the number in an event's name, -1 if there is none.
func numbered(name string) int {
	if digits, ok := strings.CutPrefix(name, "n"); ok {
		if n, err := strconv.Atoi(digits); err == nil {
			return n
		}
	}
	return -1
}

// places are the targets of a run, except those that come and go (rendezvous).
var places = func() []string {
	list := []string{wire.All}
	for i := range users {
		list = append(list, userTarget(i))
	}
	for i := range topics {
		list = append(list, topicTarget(i))
	}
	return list
}()

const (
	users  = 5
	topics = 12

	// broken is a target whose history's key holds a string: its events become dead letters.
	broken = "topic:broken"
)

func userTarget(i int) string  { return wire.UserTarget(fmt.Sprintf("u%d", i)) }
func topicTarget(i int) string { return wire.TopicTarget(fmt.Sprintf("t%d", i)) }

// somewhere draws a target; all is rare, since everybody gets it.
func somewhere(rng *rand.Rand) string {
	if rng.IntN(20) == 0 {
		return wire.All
	}
	return places[1+rng.IntN(len(places)-1)]
}

// Keys of the documented layout.
func partitionKey(p int, name string) string {
	return "sluice:{" + wire.Tags(partitions)[p] + "}:" + name
}

func historyKey(to string) string {
	return partitionKey(wire.Partition(to, partitions), "history:"+to)
}

func cursorKey(user string) string {
	to := wire.UserTarget(user)
	return partitionKey(wire.Partition(to, partitions), "cursor:"+to)
}

const (
	intakeStream = "sluice:events"
	deadStream   = "sluice:dead"
)

func ingressStream(partition int) string { return partitionKey(partition, "events") }
