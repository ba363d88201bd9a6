package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// producer appends over the intake or straight to partitions, one try after the other: this is its lane.
type producer struct {
	*run
	way     Way
	lane    string
	rng     *rand.Rand
	rdb     redis.UniversalClient
	retries []int // tries without an answer that can be repeated, since they have a key
	done    []int // tries with a key that were accepted
}

// try is an entry about to be sent.
type try struct {
	place  int // in the journal
	stream string
	fields []string
}

const (
	mostInBatch = 12
	oncePoison  = 60 // one entry in so many
)

// unreadTimes are how long events wait to be acknowledged: hardly long enough, and long enough.
var unreadTimes = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}

// newProducer has a connection of its own through the producers' link.
func (r *run) newProducer(way Way, i int) *producer {
	rdb := r.system.backend.dial(r.system.producers)
	return &producer{run: r, way: way, lane: fmt.Sprintf("%v-%d", way, i), rng: r.rng(), rdb: rdb}
}

// produce appends at a steady rate until ctx ends: batches of different sizes, so that a batch of a worker is rarely
// one of a producer.
func (p *producer) produce(ctx context.Context, rate float64) {
	defer func() { _ = p.rdb.Close() }()
	for {
		n := 1
		if p.rng.IntN(3) == 0 {
			n = 1 + p.rng.IntN(mostInBatch)
		}
		if !pause(ctx, time.Duration(float64(n)/rate*float64(time.Second))) {
			return
		}
		tries := make([]try, n)
		for i := range tries {
			tries[i] = p.next()
		}
		p.send(tries)
	}
}

// next draws an entry: a new event, the repeat of one without an answer, or on purpose of one that was accepted.
func (p *producer) next() try {
	if len(p.retries) > 0 {
		again := p.retries[0]
		p.retries = p.retries[1:]
		return p.again(again)
	}
	if len(p.done) > 0 && p.rng.IntN(40) == 0 {
		return p.again(p.done[p.rng.IntN(len(p.done))])
	}
	if p.plan.on("poison") && p.rng.IntN(oncePoison) == 0 {
		return p.poison()
	}
	a := Append{N: p.number(), To: somewhere(p.rng), Way: p.way, Lane: p.lane}
	switch p.rng.IntN(10) {
	case 0:
		a.Live = true
	case 1, 2:
		a.Key = "key-" + strconv.Itoa(a.N)
	case 3:
		if p.plan.rules.Keys {
			a.To, a.Key = p.key("", a.To, p.rng)
		}
	}
	if p.rng.IntN(30) == 0 {
		a.Except = p.someConn()
	}
	if p.plan.unread && !a.Live && strings.HasPrefix(a.To, wire.UserTarget("")) && p.rng.IntN(3) == 0 {
		a.Unread = unreadTimes[p.rng.IntN(len(unreadTimes))]
	}
	return p.entry(a)
}

func (p *producer) again(place int) try {
	a := p.try(place)
	return p.entry(Append{N: a.N, To: a.To, Way: a.Way, Lane: a.Lane, Key: a.Key, Except: a.Except, Unread: a.Unread})
}

// entry notes the try and makes its fields.
func (p *producer) entry(a Append) try {
	fields := []string{"to", a.To, "data", payload(a.N), "event", nameOf(a.N)}
	if a.Key != "" {
		fields = append(fields, "id", a.Key)
	}
	if a.Live {
		fields = append(fields, "retain", "0")
	}
	if a.Except != "" {
		fields = append(fields, "except", a.Except)
	}
	if a.Unread > 0 {
		fields = append(fields, "unread", a.Unread.String())
	}
	stream := intakeStream
	if p.way == Direct {
		stream = ingressStream(wire.Partition(a.To, partitions))
	}
	return try{p.begin(a), stream, fields}
}

// poison is an entry that must become a dead letter. Its number stands in a field of its own, since not each has data.
func (p *producer) poison() try {
	n := p.number()
	number := strconv.Itoa(n)
	to := somewhere(p.rng)
	partition := wire.Partition(to, partitions)
	kinds := []struct {
		reason string
		fields []string
	}{
		{wire.ReasonNoTarget, []string{"data", number}},
		{wire.ReasonBadTarget, []string{"to", "topic:bad name", "data", number}},
		{wire.ReasonNoData, []string{"to", to}},
		{wire.ReasonTooLarge, []string{"to", to, "data", strings.Repeat("x", maxData+1)}},
		{wire.ReasonBadName, []string{"to", to, "data", number, "event", "line\nbreak"}},
		{wire.ReasonBadKey, []string{"to", to, "data", number, "id", strings.Repeat("k", 300)}},
		{wire.ReasonHistory, []string{"to", broken, "data", number}},
		{wire.ReasonWrongPartition, []string{"to", to, "data", number}},
	}
	drawn := len(kinds)
	if p.way == Intake {
		drawn -= 2 // the intake's entries go where they belong; broken ones have another id in the partition
	}
	k := kinds[p.rng.IntN(drawn)]
	stream := intakeStream
	if p.way == Direct {
		switch k.reason {
		case wire.ReasonHistory:
			partition = wire.Partition(broken, partitions)
		case wire.ReasonWrongPartition:
			partition = (partition + 1) % partitions
		}
		stream = ingressStream(partition)
	}
	place := p.begin(Append{N: n, To: stream, Way: p.way, Lane: p.lane, Poison: k.reason})
	return try{place, stream, append(k.fields, "n", number)}
}

// send appends the entries in one pipeline and notes the answers.
func (p *producer) send(tries []try) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	pipe := p.rdb.Pipeline()
	answers := make([]*redis.StringCmd, len(tries))
	for i, t := range tries {
		answers[i] = pipe.XAdd(ctx, &redis.XAddArgs{Stream: t.stream, Values: t.fields})
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, t := range tries {
		id, err := answers[i].Result()
		o, parsed := outcome(id, err)
		p.end(t.place, o, parsed, false)
		if a := p.try(t.place); a.Key != "" {
			switch o {
			case Acked:
				p.done = append(p.done, t.place)
				if len(p.done) > 200 {
					p.done = p.done[100:]
				}
			default:
				p.retries = append(p.retries, t.place)
			}
		}
	}
}

const (
	// rendezvousPrefix begins the names of targets that get few events, just when somebody subscribes.
	rendezvousPrefix = "topic:once-"
	mostApart        = 250 * time.Millisecond // subscription and first event
)

// rendezvous has clients subscribe to fresh targets while their first events are appended.
func (p *producer) rendezvous(ctx context.Context) {
	defer func() { _ = p.rdb.Close() }()
	for i := 0; pause(ctx, time.Duration(p.rng.Int64N(int64(mostApart)))); i++ {
		to := fmt.Sprintf("%s%s-%d", rendezvousPrefix, p.lane, i)
		invite := func() { p.invite(to, []origin{now, earliest}[p.rng.IntN(2)]) }
		add := func() { p.send([]try{p.entry(Append{N: p.number(), To: to, Way: p.way, Lane: p.lane})}) }
		steps := []func(){invite, add}
		if p.rng.IntN(3) == 0 {
			steps = append(steps, add)
		}
		p.rng.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		for _, step := range steps {
			step()
			pause(ctx, time.Duration(p.rng.Int64N(int64(mostApart))))
		}
	}
}

// invite has one or two clients subscribe to a target.
func (p *producer) invite(to string, from origin) {
	for range 1 + p.rng.IntN(2) {
		select {
		case p.recorders[p.rng.IntN(len(p.recorders))].asks <- ask{to, from}:
		default: // it is away for long
		}
	}
}
