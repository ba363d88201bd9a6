package torture

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"sluice/shared/wire"
)

const (
	mostStreamed    = 32              // targets of an event stream (SLUICE_SSE_MAX_TARGETS)
	patienceOfReady = 5 * time.Second // until an event stream has all its subscriptions: it cannot ask once more
)

// byStream draws whether to come by an event stream: without a device, since it says nothing but its request, and with
// what it wants in it. c.mu is held.
func (c *recorder) byStream() bool {
	n := 0
	for _, w := range c.wants {
		if w.on {
			n++
		}
	}
	return c.plan.streams && c.device == "" && n <= mostStreamed && c.rng.IntN(3) == 0
}

// stream is one connection by an event stream. It returns why it ended.
func (c *recorder) stream(ctx context.Context, gateway int) string {
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	c.mu.Lock()
	request := c.streamRequest(ctx, "http://"+c.system.gateways[gateway].front.addr()+"/v1/sse?")
	c.mu.Unlock()
	silence := time.AfterFunc(patienceOfClient, hangUp) // comments come as often as pings
	defer silence.Stop()
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	resp, err := transport.RoundTrip(request)
	if err != nil {
		return "request: " + err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return "request: " + resp.Status
	}
	var sitting sync.WaitGroup
	sitting.Go(func() { c.sit(ctx, hangUp) })
	defer sitting.Wait()
	defer hangUp()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	name, id, data := "", "", ""
	for lines.Scan() {
		silence.Reset(patienceOfClient)
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "event":
			name = value
		case "id":
			id = value
		case "data":
			data = value
		case "": // the event has come, or it is a comment
			if name == "sluice.close" {
				return "close: " + data
			}
			if data == "" {
				continue
			}
			var m message
			if err := json.Unmarshal([]byte(data), &m); err != nil {
				c.complain("client %s got %q: %v", c.name, data, err)
			} else {
				c.see(&m)
				c.compare(&m, id)
			}
			name, id, data = "", "", ""
			c.doze(ctx)
			silence.Reset(patienceOfClient)
		}
	}
	if err := lines.Err(); err != nil {
		return err.Error()
	}
	return "the stream ended"
}

// streamRequest asks for all that is wanted. c.mu is held.
func (c *recorder) streamRequest(ctx context.Context, address string) *http.Request {
	q := url.Values{"token": {"dev:" + c.user}}
	positions, topics := map[string]wire.ID{}, []string{}
	for to, w := range c.wants {
		if !w.on {
			continue
		}
		w.asked, w.now = true, !w.has
		f := Frame{Kind: Asked, To: to}
		if w.has {
			positions[to] = w.pos
			f.After, f.ID = true, w.pos
		} else if topic, ok := strings.CutPrefix(to, "topic:"); ok {
			topics = append(topics, topic)
		}
		c.record(f)
	}
	if len(topics) > 0 {
		q.Set("topics", strings.Join(topics, ","))
	}
	last := wire.Cursor(positions)
	inHeader := c.rng.IntN(2) == 0 // as a browser that comes back
	if last != "" && !inHeader {
		q.Set("last_event_id", last)
	}
	c.chooseOnGap(nil, q)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+q.Encode(), nil)
	if err != nil {
		panic(err) // the address is the test's own
	}
	if last != "" && inHeader {
		request.Header.Set("Last-Event-ID", last)
	}
	return request
}

// sit is what a client does on an event stream: it reads, dozes, and leaves at some time.
func (c *recorder) sit(ctx context.Context, hangUp func()) {
	opened := time.Now()
	leave := opened.Add(time.Duration(float64(c.plan.stay) * (0.2 + c.rng.ExpFloat64())))
	for pause(ctx, 200*time.Millisecond) {
		_, ready := c.at()
		switch {
		case !ready && time.Since(opened) > patienceOfReady, c.calm.Err() == nil && time.Now().After(leave):
			hangUp()
			return
		case c.calm.Err() == nil && c.plan.on("doze") && c.rng.IntN(20) == 0:
			c.mu.Lock()
			c.asleep = time.Now().Add(time.Duration(c.rng.IntN(1500)) * time.Millisecond)
			c.mu.Unlock()
		}
	}
}

// compare holds the id of an event against what it says: a browser comes back with it, and with nothing else.
func (c *recorder) compare(m *message, id string) {
	at := m.ID
	if m.Type == "gap" {
		at = m.Position
	}
	if m.Type != "gap" && m.Type != "skip" && (m.Type != "event" || at.IsZero()) {
		return
	}
	last, err := wire.ParseLastEventID(id)
	if err != nil || last.Positions[m.To] != at.String() {
		c.complain("client %s got %s of %s at %v with the id %q", c.name, m.Type, m.To, at, id)
	}
}
