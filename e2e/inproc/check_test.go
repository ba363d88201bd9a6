package inproc_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// add appends numbered events, from on, for a target: "intake" or "direct". All are
// in one transaction, so that a worker can get them in one batch.
func (r *rig) add(way, target string, from, n int, extra ...string) {
	r.t.Helper()
	pipe := r.rdb.TxPipeline()
	for i := from; i < from+n; i++ {
		r.entry(pipe, way, target, strconv.Itoa(i), extra...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) entry(pipe redis.Pipeliner, way, target, data string, extra ...string) *redis.StringCmd {
	stream := r.intake()
	if way == "direct" {
		stream = r.key(target, "events")
	}
	return pipe.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: append([]string{"to", target, "data", data}, extra...)})
}

// producer adds events for targets in turn at a steady rate, in the time that the machine
// gives, until finish.
type producer struct {
	r       *rig
	sources []source
	pad     string
	keyed   bool // each event has an idempotency key and is added twice
	stop    chan struct{}
	done    chan struct{}

	mu     sync.Mutex
	counts []int // events that Redis has acknowledged, by source
	open   bool  // the outcome of a command is not known
	failed error // the last failure
}

// source is a target and the way to it.
type source struct{ way, target string }

// produce adds events at a rate a second over all sources. Data are {"n":<number>},
// with padding if wanted.
func (r *rig) produce(rate int, pad int, sources ...source) *producer {
	return r.start(rate, &producer{sources: sources, counts: make([]int, len(sources)), pad: strings.Repeat("x", pad)})
}

// produceFrom is produce for one source that has had n events already.
func (r *rig) produceFrom(n, rate int, s source) *producer {
	return r.start(rate, &producer{sources: []source{s}, counts: []int{n}})
}

// produceKeyed is produce with an idempotency key for each event, and each event added
// twice.
func (r *rig) produceKeyed(rate int, sources ...source) *producer {
	return r.start(rate, &producer{sources: sources, counts: make([]int, len(sources)), keyed: true})
}

func (r *rig) start(rate int, p *producer) *producer {
	p.r, p.stop, p.done = r, make(chan struct{}), make(chan struct{})
	go p.run(rate)
	r.t.Cleanup(func() { p.finish() })
	return p
}

func (p *producer) run(rate int) {
	defer close(p.done)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	watch := startWatch() // with less of the machine nobody could keep up with the whole rate
	sent := 0
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
		due := min(int(watch.elapsed().Seconds()*float64(rate)), sent+rate/4)
		if due <= sent {
			continue
		}
		pipe := p.r.rdb.TxPipeline() // all or nothing, so that a failure leaves no hole
		added := make([]int, len(p.sources))
		for ; sent < due; sent++ {
			i := sent % len(p.sources)
			n := p.counts[i] + added[i]
			if p.keyed {
				for range 2 {
					p.r.entry(pipe, p.sources[i].way, p.sources[i].target, p.data(n), "id", "key-"+strconv.Itoa(n))
				}
			} else {
				p.r.entry(pipe, p.sources[i].way, p.sources[i].target, p.data(n))
			}
			added[i]++
		}
		_, err := pipe.Exec(ctx)
		p.mu.Lock()
		if err == nil {
			for i, n := range added {
				p.counts[i] += n
			}
		} else {
			p.open = p.open || !p.keyed // with a key it may be added again
			p.failed = err
			sent -= sum(added)
		}
		p.mu.Unlock()
	}
}

func sum(a []int) (n int) {
	for _, x := range a {
		n += x
	}
	return n
}

func (p *producer) data(n int) string {
	if p.pad == "" {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf(`{"n":%d,"pad":"%s"}`, n, p.pad)
}

// finish ends the producer and returns how many events each source had.
func (p *producer) finish() []int {
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	<-p.done
	return p.counts
}

// sent is how many events a source has had so far.
func (p *producer) sent(i int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[i]
}

// number is the number in an event's data.
func number(f frame) int {
	text := strings.TrimPrefix(string(f.Data), `{"n":`)
	end := 0
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(text[:end])
	if err != nil {
		return -1
	}
	return n
}

// follow checks the frames of one target: each event once, numbered from first on,
// each prev the id before it. It returns the number after the last event.
func follow(frames []frame, target string, first int) (next int, err error) {
	next = first
	last := ""
	for _, f := range frames {
		if f.To != target {
			continue
		}
		switch f.Type {
		case "subscribed":
			if last == "" {
				last = f.Position
			}
		case "gap":
			return next, fmt.Errorf("%s: gap %s after %s, position %s, when %d was next", target, f.Reason, f.After, f.Position, next)
		case "event":
			if f.ID == "" {
				continue // live only
			}
			if n := number(f); n != next {
				return next, fmt.Errorf("%s: event %d (id %s, prev %s, %.40s) came when %d was next", target, n, f.ID, f.Prev, f.Data, next)
			}
			if last != "" && next > first && f.Prev != last {
				return next, fmt.Errorf("%s: event %d has prev %s, but the one before it was %s", target, next, f.Prev, last)
			}
			last = f.ID
			next++
		}
	}
	return next, nil
}

// followGaps is follow for frames in which a gap may stand: after it the numbers go on
// from anywhere later, and the chain from the gap's position.
func followGaps(frames []frame, target string) (gaps, last int, err error) {
	last = -1
	prev := ""
	for _, f := range frames {
		switch {
		case f.To != target:
		case f.Type == "gap":
			gaps++
			prev = f.Position
		case f.Type == "event":
			n := number(f)
			if n != last+1 && (gaps == 0 || n <= last) || (prev != "" && f.Prev != prev) {
				return gaps, last, fmt.Errorf("%s: event %d (id %s, prev %s) came after %d (%s)", target, n, f.ID, f.Prev, last, prev)
			}
			last, prev = n, f.ID
		}
	}
	return gaps, last, nil
}

// mustHave waits until the client has events first..end-1 of a target, and checks them.
func (c *client) mustHave(limit time.Duration, target string, first, end int) {
	c.t.Helper()
	c.waitEvents(limit, target, end-first)
	c.check(target, first, end)
}

// check is mustHave without waiting.
func (c *client) check(target string, first, end int) {
	c.t.Helper()
	next, err := follow(c.all(target), target, first)
	if err == nil && next != end {
		err = fmt.Errorf("%s: events up to %d, want %d", target, next, end)
	}
	if err != nil {
		c.t.Errorf("%s: %v", c.name, err)
	}
}

// inOrder checks that the client has events first..end-1 of a target, once and in order,
// whatever gaps it was told of.
func (c *client) inOrder(target string, first, end int) {
	c.t.Helper()
	next := first
	for _, f := range c.all(target) {
		if f.Type != "event" {
			continue
		}
		if n := number(f); n != next {
			c.t.Errorf("%s: event %d of %s came when %d was next", c.name, n, target, next)
		}
		next++
	}
	if next != end {
		c.t.Errorf("%s: events of %s up to %d, want %d", c.name, target, next, end)
	}
}

// settle waits until everything that the producer sent is with all clients, and
// checks that nothing else is.
func (p *producer) settle(limit time.Duration, clients ...*client) {
	p.r.t.Helper()
	counts := p.finish()
	if p.open {
		p.r.t.Fatalf("the producer does not know what Redis has done: %v", p.failed)
	}
	for _, c := range clients {
		for i, s := range p.sources {
			c.mustHave(limit, s.target, 0, counts[i])
		}
	}
}

func TestHelperFollow(t *testing.T) {
	t.Parallel()
	event := func(n int, id, prev string) frame {
		return frame{Type: "event", To: "all", ID: id, Prev: prev, Data: []byte(strconv.Itoa(n))}
	}
	for name, tc := range map[string]struct {
		frames []frame
		good   bool
	}{
		"good":   {[]frame{event(0, "1-0", "0"), event(1, "2-0", "1-0")}, true},
		"hole":   {[]frame{event(0, "1-0", "0"), event(2, "3-0", "2-0")}, false},
		"repeat": {[]frame{event(0, "1-0", "0"), event(0, "1-0", "0")}, false},
		"order":  {[]frame{event(1, "2-0", "1-0"), event(0, "1-0", "0")}, false},
		"chain":  {[]frame{event(0, "1-0", "0"), event(1, "2-0", "0")}, false},
		"gap":    {[]frame{event(0, "1-0", "0"), {Type: "gap", To: "all"}}, false},
		"other":  {[]frame{{Type: "event", To: "user:x"}, event(0, "1-0", "0")}, true},
	} {
		if _, err := follow(tc.frames, "all", 0); (err == nil) != tc.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := number(frame{Data: []byte(`{"n":17,"pad":"xx"}`)}); n != 17 {
		t.Errorf("number is %d", n)
	}
}

var errPending = errors.New("entries are pending")
