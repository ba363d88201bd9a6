package hostile_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"
)

const (
	newsTopic, talkTopic = "topic:news", "topic:talk"

	newsEvery = 8 * time.Millisecond
	talkEvery = 70 * time.Millisecond // below the limit of a connection
	comeEvery = 100 * time.Millisecond
)

// frame is what a bystander reads of one.
type frame struct {
	Type, To, ID, Ref, Code, Position string
	Data                              struct{ N, At int64 }
}

// bystanders use the gateway: some watch what a backend appends, one publishes, one comes again and again with its
// positions. Each event has its number, so whatever is lost, repeated or out of order is seen at once.
type bystanders struct {
	s    *system
	stop chan struct{}
	all  sync.WaitGroup

	mu      sync.Mutex
	news    int64                    // the last one that was appended
	seen    map[string]int64         // by bystander, the last number
	delays  []time.Duration          // of events, since the last look
	slowest map[string]time.Duration // of what is not compared
	wrong   []error
}

// begin lets the bystanders begin, until the end of the test.
func (s *system) begin() *bystanders {
	b := &bystanders{s: s, stop: make(chan struct{}), seen: map[string]int64{}, slowest: map[string]time.Duration{}}
	for i := range 3 {
		b.all.Go(func() { b.watch(fmt.Sprint("watcher-", i)) })
	}
	b.all.Go(func() { b.come("comer") })
	b.all.Go(func() { b.talk("talker") })
	s.await("the bystanders are there", func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.seen) < 5 {
			return fmt.Errorf("only %v: %w", b.seen, errors.Join(b.wrong...))
		}
		return nil
	})
	b.all.Go(b.produce)
	s.t.Cleanup(func() {
		close(b.stop)
		b.all.Wait()
	})
	return b
}

func (b *bystanders) stopped() bool {
	select {
	case <-b.stop:
		return true
	default:
		return false
	}
}

func (b *bystanders) fail(who string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.stopped() && len(b.wrong) < 20 {
		b.wrong = append(b.wrong, fmt.Errorf("%s: %w", who, err))
	}
}

// produce appends the news, as a backend does.
func (b *bystanders) produce() {
	tick := time.NewTicker(newsEvery)
	defer tick.Stop()
	for n := int64(1); ; n++ {
		data := fmt.Sprintf(`{"n":%d,"at":%d}`, n, time.Now().UnixNano())
		if err := b.s.redis.XAdd(ctx, &redis.XAddArgs{Stream: "sluice:events", Values: []any{"to", newsTopic, "data", data}}).Err(); err != nil {
			b.fail("the backend", err)
			return
		}
		b.mu.Lock()
		b.news = n
		b.mu.Unlock()
		select {
		case <-tick.C:
		case <-b.stop:
			return
		}
	}
}

// got checks the next event of a bystander, and notes how late it is.
func (b *bystanders) got(who string, f frame) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if last := b.seen[who]; f.Data.N != last+1 && len(b.wrong) < 20 {
		b.wrong = append(b.wrong, fmt.Errorf("%s: after event %d of %s came %d", who, last, f.To, f.Data.N))
	}
	b.seen[who] = f.Data.N
	if who != "comer" { // who was away had to wait
		b.delays = append(b.delays, time.Since(time.Unix(0, f.Data.At)))
	}
}

func (b *bystanders) took(what string, since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slowest[what] = max(b.slowest[what], time.Since(since))
}

func (b *bystanders) dial(user string, query string) (*websocket.Conn, error) {
	dialer := websocket.Dialer{HandshakeTimeout: patience}
	ws, resp, err := dialer.Dial("ws://"+b.s.addr+"/v1/ws?"+query, http.Header{"Authorization": {"Bearer " + tokenOf(user)}})
	if resp != nil && err != nil {
		err = fmt.Errorf("%w: %s", err, resp.Status)
	}
	return ws, err
}

// each gives what comes on a connection, until it ends or the bystanders stop.
func (b *bystanders) each(ws *websocket.Conn, do func(frame) (goOn bool)) error {
	defer func() { _ = ws.Close() }()
	done := make(chan struct{})
	defer close(done)
	b.all.Go(func() {
		select {
		case <-b.stop:
			_ = ws.Close()
		case <-done:
		}
	})
	for {
		_, text, err := ws.ReadMessage()
		if err != nil {
			return err
		}
		var f frame
		if err := json.Unmarshal(text, &f); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		if f.Type == "error" || f.Type == "gap" || f.Type == "goaway" {
			return fmt.Errorf("it is told %s", text)
		}
		if !do(f) {
			return nil
		}
	}
}

// watch stays connected.
func (b *bystanders) watch(who string) {
	ws, err := b.dial(who, "topics=news")
	if err != nil {
		b.fail(who, err)
		return
	}
	err = b.each(ws, func(f frame) bool {
		switch {
		case f.Type == "subscribed" && f.To == newsTopic:
			b.ready(who)
		case f.Type == "event" && f.To == newsTopic:
			b.got(who, f)
		}
		return true
	})
	b.fail(who, err)
}

func (b *bystanders) ready(who string) {
	b.mu.Lock()
	b.seen[who] += 0
	b.mu.Unlock()
}

// come connects, reads until it is up to date, and hangs up, again and again.
func (b *bystanders) come(who string) {
	at := "0"
	for tick := time.NewTicker(comeEvery); !b.stopped(); {
		began := time.Now()
		ws, err := b.dial(who, "last_event_id="+newsTopic+"%3D"+at)
		if err != nil {
			b.fail(who, err)
			return
		}
		until := int64(-1)
		err = b.each(ws, func(f frame) bool {
			if f.Type == "subscribed" && f.To == newsTopic {
				b.took("come", began)
				b.ready(who)
				b.mu.Lock()
				until = b.news
				b.mu.Unlock()
			}
			if f.Type == "event" && f.To == newsTopic {
				at = f.ID
				b.got(who, f)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			return until < 0 || b.seen[who] < until
		})
		if err != nil {
			b.fail(who, err)
			return
		}
		select {
		case <-tick.C:
		case <-b.stop:
		}
	}
}

// talk publishes, and has each event back.
func (b *bystanders) talk(who string) {
	ws, err := b.dial(who, "topics=talk")
	if err != nil {
		b.fail(who, err)
		return
	}
	begun := make(chan struct{})
	b.all.Go(func() {
		select {
		case <-begun:
		case <-b.stop:
			return
		}
		tick := time.NewTicker(talkEvery)
		defer tick.Stop()
		for n := int64(1); ; n++ {
			data := map[string]int64{"n": n, "at": time.Now().UnixNano()}
			if err := ws.WriteJSON(map[string]any{"type": "publish", "ref": fmt.Sprint(n), "to": talkTopic, "data": data}); err != nil {
				b.fail(who, err)
				return
			}
			select {
			case <-tick.C:
			case <-b.stop:
				return
			}
		}
	})
	err = b.each(ws, func(f frame) bool {
		switch {
		case f.Type == "subscribed" && f.To == talkTopic:
			b.ready(who)
			close(begun)
		case f.Type == "event" && f.To == talkTopic:
			b.got(who, f)
		}
		return true
	})
	b.fail(who, err)
}

// starved measures until the call of p99 how late this process gets a processor.
func starved() (p99 func() time.Duration) {
	stop, found := make(chan struct{}), make(chan []time.Duration)
	go func() {
		const nap = 2 * time.Millisecond
		var late []time.Duration
		for {
			began := time.Now()
			time.Sleep(nap)
			late = append(late, time.Since(began)-nap)
			select {
			case <-stop:
				found <- late
				return
			default:
			}
		}
	}()
	return func() time.Duration {
		close(stop)
		late := <-found
		slices.Sort(late)
		return late[len(late)*99/100]
	}
}

// spend forgets what was measured, and measures until the function returns. It waits until
// everybody has what was appended meanwhile, and says what went wrong.
func (b *bystanders) spend(f func()) (p99 time.Duration, note string, err error) {
	b.mu.Lock()
	b.delays, b.slowest = nil, map[string]time.Duration{}
	b.mu.Unlock()
	machine := starved()
	f()
	late := machine()
	b.mu.Lock()
	defer b.mu.Unlock()
	goal := b.news
	b.mu.Unlock()
	missing := eventually(patience/2, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		for who, n := range b.seen {
			if who != "talker" && n < goal && len(b.wrong) == 0 {
				return fmt.Errorf("%s has the news up to %d of %d", who, n, goal)
			}
		}
		return nil
	})
	b.mu.Lock()
	delays := slices.Sorted(slices.Values(b.delays))
	if len(delays) == 0 {
		return 0, "", errors.Join(append(b.wrong, missing, errors.New("no event has come"))...)
	}
	var rest strings.Builder
	for what, d := range b.slowest {
		fmt.Fprintf(&rest, ", slowest to %s %v", what, d.Round(time.Millisecond))
	}
	p99 = delays[len(delays)*99/100]
	note = fmt.Sprintf("p50 %v, p99 %v of %d, a processor is late by %v%s", delays[len(delays)/2].Round(time.Millisecond/10), p99.Round(time.Millisecond/10),
		len(delays), late.Round(time.Millisecond/10), &rest)
	return p99, note, errors.Join(append(b.wrong, missing)...)
}
