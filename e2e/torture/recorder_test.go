package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"sluice/shared/wire"
)

// recorder is a client that writes down what it sees, keeps its positions, leaves and comes back.
type recorder struct {
	*run
	name, user string
	rng        *rand.Rand
	asks       chan ask // rendezvous
	publisher  bool
	mute       bool   // it acknowledges nothing
	device     string // that it acknowledges for; empty: it does not
	retained   bool   // it asks for what is retained after a gap

	mu      sync.Mutex // guards what follows
	frames  []Frame
	wants   map[string]*want
	ws      *websocket.Conn // nil: not connected
	conn    string          // id of the connection, from welcome
	gateway int8
	waiting map[int]time.Time // tries published and not yet answered
	retries []int             // tries without an answer, to be repeated
	asleep  time.Time         // does not read until then
}

// want is what the client knows of a target that it wants, or wanted.
type want struct {
	on       bool // wanted
	has      bool // a position
	pos      wire.ID
	asked    bool
	now      bool // asked for what comes from now on
	all      bool // asked for all that is retained
	ready    bool // subscribed
	leaving  bool // asked to be unsubscribed
	refused  bool // that could not be done wholly, and is to be asked again
	byCursor bool // asked by the device's cursor, which may be lost by now, or not be there yet
	cursor   bool // acknowledged at some time: there may be a cursor
	unheard  bool // a subscription had no answer: there may be a cursor

	got, acked wire.ID // on this connection: the last event that came, and that was acknowledged
}

// ask tells a recorder to subscribe to a target.
type ask struct {
	to   string
	from origin // if it is new to the recorder
}

// origin is where a subscription begins.
type origin byte

const (
	now      origin = iota
	position        // the recorder's own; "0" if it has none
	earliest
)

// message is any frame of the server.
type message struct {
	Type      string
	Ref       string
	Conn      string
	To        string
	ID        wire.ID
	Prev      wire.ID
	Position  wire.ID
	After     wire.ID
	Oldest    wire.ID
	Recovered bool
	Duplicate bool
	Reason    string
	Code      string
	Message   string
	Event     string
	Data      json.RawMessage
}

const (
	patienceOfClient = 4 * time.Second // without a ping: the connection is dead
	mostTopics       = 60              // of one client, rendezvous among them
)

func newRecorder(r *run, i int) *recorder {
	c := &recorder{
		run: r, name: fmt.Sprintf("c%d", i), user: fmt.Sprintf("u%d", i%users), rng: r.rng(),
		asks: make(chan ask, 16), publisher: i%3 == 0,
		wants: map[string]*want{}, waiting: map[int]time.Time{},
	}
	c.retained = i%4 >= 2
	if r.plan.devices && i%2 == 1 {
		c.device, c.mute = "phone-"+c.name, i%10 == 3
	}
	c.want(wire.UserTarget(c.user))
	c.want(wire.All)
	for i := range topics {
		if c.rng.IntN(3) == 0 {
			c.want(topicTarget(i))
		}
	}
	if r.plan.life && i%5 == 2 {
		for range mostWide {
			c.want(wide[c.rng.IntN(wideTopics)])
		}
	}
	return c
}

// want is the client's knowledge of a target; it is wanted from here on.
func (c *recorder) want(to string) *want {
	w := c.wants[to]
	if w == nil {
		w = &want{}
		c.wants[to] = w
	}
	w.on = true
	return w
}

// record notes a frame; c.mu is held.
func (c *recorder) record(f Frame) {
	f.At, f.Gateway = time.Now(), c.gateway
	c.frames = append(c.frames, f)
}

// live is the client's life: connections, and the time between them. When the run calms down it stays connected.
func (c *recorder) live(ctx context.Context) {
	for ctx.Err() == nil {
		reason := c.visit(ctx, c.rng.IntN(gateways))
		c.mu.Lock()
		c.ws, c.conn = nil, ""
		for to, w := range c.wants {
			if w.leaving { // that may have been done, and its answer lost: then the device's cursor has ended
				c.record(Frame{Kind: Unsubscribed, To: to, Text: Unanswered})
				w.cursor = false
			}
			w.unheard = w.unheard || w.asked || w.leaving
			w.asked, w.ready, w.leaving, w.refused, w.byCursor = false, false, false, false, false
			w.got, w.acked = wire.ID{}, wire.ID{}
		}
		c.giveUp(0)
		c.record(Frame{Kind: Closed, Text: reason})
		c.mu.Unlock()
		away := 50 * time.Millisecond
		if c.rng.IntN(2) == 0 {
			away = time.Duration(c.rng.IntN(1500)) * time.Millisecond
		}
		select {
		case <-time.After(min(away, c.plan.away)):
		case <-c.calm.Done():
			pause(ctx, 50*time.Millisecond)
		}
	}
}

// visit is one connection. It returns why it ended.
func (c *recorder) visit(ctx context.Context, gateway int) string {
	cursors := c.cursors(ctx)
	c.mu.Lock()
	c.gateway = int8(gateway)
	if c.byStream() {
		c.mu.Unlock()
		return c.stream(ctx, gateway)
	}
	first, q, header := c.opening(cursors)
	c.mu.Unlock()

	dialer := websocket.Dialer{HandshakeTimeout: patienceOfClient}
	u := "ws://" + c.system.gateways[gateway].front.addr() + "/v1/ws?" + q.Encode()
	ws, _, err := dialer.DialContext(ctx, u, header)
	if err != nil {
		return "handshake: " + err.Error()
	}
	defer func() { _ = ws.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = ws.Close() })
	defer stop()
	alive := func() { _ = ws.SetReadDeadline(time.Now().Add(patienceOfClient)) }
	alive()
	ws.SetPingHandler(func(text string) error {
		alive()
		return ignoreTimeout(ws.WriteControl(websocket.PongMessage, []byte(text), time.Now().Add(time.Second)))
	})
	c.mu.Lock()
	c.ws = ws
	c.mu.Unlock()
	if first != nil {
		c.send(first)
	}
	// The actor acts on the connection beside this reader.
	acting, done := context.WithCancel(ctx)
	var actor sync.WaitGroup
	actor.Go(func() { c.act(acting, ws) })
	defer actor.Wait()
	defer done()
	for {
		c.doze(ctx)
		_, data, err := ws.ReadMessage()
		if err != nil {
			return err.Error()
		}
		var m message
		if err := json.Unmarshal(data, &m); err != nil {
			c.complain("client %s got %q: %v", c.name, data, err)
			continue
		}
		c.see(&m)
	}
}

func ignoreTimeout(err error) error {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return nil
	}
	return err
}

// opening draws how the connection begins: token and positions in the frame `connect`, or in the handshake, or from the
// device's cursors if there are some. c.mu is held.
func (c *recorder) opening(cursors map[string]wire.ID) (first map[string]any, q url.Values, header http.Header) {
	q, header = url.Values{}, http.Header{}
	positions := map[string]wire.ID{}
	if cursors != nil {
		for to := range cursors {
			c.want(to)
		}
		for to, w := range c.wants {
			at, there := cursors[to]
			// What was acknowledged just now may have become one meanwhile, and so may a subscription without an answer.
			if w.on && (there || (w.has && w.cursor) || w.unheard) {
				w.asked, w.now, w.byCursor = true, false, true
				c.record(Frame{Kind: Asked, To: to, Device: true, ID: at})
			}
		}
		first = map[string]any{"type": "connect", "token": "dev:" + c.user, "device": c.device, "resume": "device"}
		c.chooseOnGap(first, q)
		return first, q, header
	}
	for to, w := range c.wants {
		switch {
		case !w.on:
		case w.has:
			w.asked, w.now = true, false
			positions[to] = w.pos
			c.record(Frame{Kind: Asked, To: to, After: true, ID: w.pos})
		case to == wire.All || to == wire.UserTarget(c.user):
			w.asked, w.now = true, true
			c.record(Frame{Kind: Asked, To: to})
		}
	}
	token := "dev:" + c.user
	if c.device != "" || c.rng.IntN(2) == 0 { // the handshake cannot name a device
		first = map[string]any{"type": "connect", "token": token, "resume": positions}
		if c.device != "" {
			first["device"] = c.device
		}
		c.chooseOnGap(first, q)
		return first, q, header
	}
	header.Set("Authorization", "Bearer "+token)
	if len(positions) > 0 {
		q.Set("last_event_id", wire.Cursor(positions))
	}
	c.chooseOnGap(nil, q)
	return nil, q, header
}

// chooseOnGap says what is to follow a gap: in the frame `connect`, if there is one, or in the query.
func (c *recorder) chooseOnGap(first map[string]any, q url.Values) {
	switch {
	case !c.retained:
	case first != nil && c.rng.IntN(2) == 0:
		first["on_gap"] = wire.OnGapRetained
	default:
		q.Set("on_gap", wire.OnGapRetained)
	}
}

// send writes a frame; an error shows to the reader as the end of the connection. Frames are written by the actor only,
// after the opening.
func (c *recorder) send(v map[string]any) {
	c.mu.Lock()
	ws := c.ws
	c.mu.Unlock()
	if ws == nil {
		return
	}
	_ = ws.SetWriteDeadline(time.Now().Add(2 * time.Second))
	if ws.WriteJSON(v) != nil {
		_ = ws.Close()
	}
}

// see notes a frame of the server.
func (c *recorder) see(m *message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.wants[m.To]
	if w == nil {
		w = &want{} // the checker finds that it came without a subscription
	}
	n := numbered(m.Event)
	if m.Type == "event" && string(m.Data) != payload(n) {
		c.complain("client %s got event %q of %s, id %v, with %d bytes of data that are not its own", c.name, m.Event, m.To, m.ID, len(m.Data))
	}
	switch m.Type {
	case "welcome":
		c.conn = m.Conn
		c.record(Frame{Kind: Connected, Text: m.Conn})
	case "subscribed":
		c.record(Frame{Kind: Subscribed, To: m.To, ID: m.Position, OK: m.Recovered})
		if !w.has || (w.now && w.asked) || (c.plan.rules.Positions && w.all) {
			w.has, w.pos = true, m.Position
		}
		w.all = false
		w.asked, w.ready, w.byCursor, w.unheard = false, true, false, false
	case "unsubscribed":
		c.record(Frame{Kind: Unsubscribed, To: m.To})
		w.ready, w.leaving = false, false
		w.got, w.acked, w.cursor = wire.ID{}, wire.ID{}, false // the cursor has ended
	case "event", "skip":
		kind := Event
		switch {
		case m.Type == "skip":
			kind = Skip
		case m.ID.IsZero():
			kind = LiveOnly
		}
		c.record(Frame{Kind: kind, To: m.To, ID: m.ID, Prev: m.Prev, N: n})
		if kind != LiveOnly {
			w.got = m.ID
		}
		if kind != LiveOnly && w.pos.Less(m.ID) {
			w.pos = m.ID
		}
	case "gap":
		c.record(Frame{Kind: Gap, To: m.To, ID: m.Position, Prev: m.After, Oldest: m.Oldest, Text: m.Reason})
		w.has, w.pos = true, m.Position
		w.got, w.acked = wire.ID{}, wire.ID{}
	case "published":
		c.published(m)
	case "error":
		c.failed(m)
	case "goaway", "pong":
	default:
		c.complain("client %s got a frame %q", c.name, m.Type)
	}
}

// failed takes an error: only `unavailable` may come, and what was asked for is asked for again.
func (c *recorder) failed(m *message) {
	if m.Ref == "" && m.Code == wire.CodeBadRequest && c.system.ledger.emptied() {
		return // an ack that has crossed a gap
	}
	if m.Code != wire.CodeUnavailable {
		c.complain("%s: client %s on gateway %d got error %s to %q: %s",
			time.Now().Format("15:04:05.000"), c.name, c.gateway, m.Code, m.Ref, m.Message)
	}
	if to, ok := strings.CutPrefix(m.Ref, "subscribe "); ok {
		if w := c.wants[to]; w != nil {
			w.asked = false
		}
		return
	}
	if to, ok := strings.CutPrefix(m.Ref, "unsubscribe "); ok { // the cursor may be there still; nothing comes any more
		if w := c.wants[to]; w != nil {
			w.refused = w.leaving
		}
		return
	}
	c.unpublished(m.Ref)
}

// at are the targets that the client is subscribed to, with its positions; ok says that it waits for nothing.
func (c *recorder) at() (positions map[string]wire.ID, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	positions, ok = map[string]wire.ID{}, c.conn != ""
	for to, w := range c.wants {
		if w.on {
			ok = ok && w.ready
			positions[to] = w.pos
		}
	}
	return positions, ok
}

// ready are the targets that it is subscribed to. Who is not connected when all should be quiet is owed no more than it
// has asked for; that it is not is told by itself.
func (c *recorder) ready() map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := map[string]bool{}
	for to, w := range c.wants {
		if w.on && w.ready {
			at[to] = true
		}
	}
	return at
}

// someConn is the id of some client's connection, or "".
func (r *run) someConn() string {
	c := r.recorders[rand.IntN(len(r.recorders))]
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}
