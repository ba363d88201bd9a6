package torture

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"sluice/shared/wire"
)

const (
	functionTimeout = time.Second // of an attempt, and half the time after which a client is told that no answer came
	failsAtMost     = 2           // times of one event, so that a run ends
	callers         = 8
	leastCalls      = 2 // of each
	effectsTarget   = "topic:effects"

	// lostTask is how long an event may wait whose task a worker had in its hands when it died: asynq takes it for lost after
	// 30 s, and looks once a minute.
	lostTask = 2 * time.Minute
)

// recordingFunction is a function that writes down what it hears, and fails, hangs, and answers when nobody waits any more: as
// it is drawn from the seed for each event.
type recordingFunction struct {
	seed   uint64
	server *httptest.Server

	steady bool // it does not fail

	mu    sync.Mutex
	heard []*Heard
	tries map[string]int
}

func newRecordingFunction(t *testing.T, seed uint64) *recordingFunction {
	f := &recordingFunction{seed: seed, tries: map[string]int{}}
	f.server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.server.Close)
	return f
}

// draw says how long it takes to answer, and whether with success.
func (f *recordingFunction) draw(id string, try int) (wait time.Duration, ok bool) {
	h := f.seed
	for _, b := range []byte(id) {
		h = (h ^ uint64(b)) * 0x100000001b3
	}
	rng := rand.New(rand.NewPCG(h, uint64(try)))
	wait = time.Duration(rng.IntN(20)) * time.Millisecond
	kind := rng.IntN(100)
	switch {
	case try > failsAtMost:
		return wait, true
	case kind < 3: // nobody waits any more: it comes twice
		return functionTimeout + 300*time.Millisecond, true
	case kind < 5: // hangs
		return functionTimeout + 300*time.Millisecond, false
	case kind < 12:
		return wait, false
	case kind < 18: // late, but not too late
		return functionTimeout / 2, true
	}
	return wait, true
}

func (f *recordingFunction) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var e struct {
		ID, Type string
		Data     struct {
			Conn string
			Seq  int
		}
	}
	if err != nil || json.Unmarshal(body, &e) != nil {
		w.WriteHeader(http.StatusBadRequest) // who called was killed in the middle
		return
	}
	h := &Heard{ID: e.ID, Kind: e.Type, Conn: e.Data.Conn, Seq: e.Data.Seq, Begin: time.Now()}
	f.mu.Lock()
	f.heard = append(f.heard, h)
	f.tries[e.ID]++
	wait, ok := time.Duration(0), true
	if !f.steady {
		wait, ok = f.draw(e.ID, f.tries[e.ID])
	}
	f.mu.Unlock()
	time.Sleep(wait)
	f.mu.Lock()
	h.End, h.Done = time.Now(), ok
	f.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if e.Type == "sluice.call" {
		_ = json.NewEncoder(w).Encode(map[string]any{"reply": e.ID, "publish": []any{map[string]any{"to": effectsTarget, "data": e.ID}}})
	}
}

func (f *recordingFunction) all() []Heard {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Heard, len(f.heard))
	for i, h := range f.heard {
		all[i] = *h
	}
	return all
}

// caller is a client that calls, one call after the other, each until it has a reply, and comes and goes meanwhile.
type caller struct {
	run   *run
	user  string
	rng   *rand.Rand
	asked []AskedCall
}

// live calls until calm; the last call is finished, as long as ctx is there.
func (c *caller) live(ctx, calm context.Context) {
	open := false // the last one has no reply yet
	for ctx.Err() == nil && c.wants(calm, open) {
		g := c.run.system.gateways[c.rng.IntN(gateways)]
		dialer := websocket.Dialer{HandshakeTimeout: 2 * time.Second}
		ws, _, err := dialer.DialContext(ctx, "ws://"+g.front.addr()+"/v1/ws?token=dev:"+c.user, nil)
		if err != nil {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		for left := 1 + c.rng.IntN(8); left > 0 && ctx.Err() == nil && c.wants(calm, open); left-- {
			if !open {
				c.asked = append(c.asked, AskedCall{ID: wire.CallID(c.user, fmt.Sprint("k", len(c.asked)))})
			}
			if open = !c.call(ws); open {
				break // it is asked for again, maybe by another gateway
			}
		}
		if c.rng.IntN(2) == 0 { // else the link just breaks
			_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
		}
		_ = ws.Close()
		pause(ctx, time.Duration(c.rng.IntN(100))*time.Millisecond)
	}
}

// wants reports whether there is more to do, whatever the machine's speed.
func (c *caller) wants(calm context.Context, open bool) bool {
	return open || calm.Err() == nil || len(c.asked) < leastCalls
}

// call makes the last call, and waits for its reply; false: none came.
func (c *caller) call(ws *websocket.Conn) bool {
	a := &c.asked[len(c.asked)-1]
	_ = ws.SetWriteDeadline(time.Now().Add(time.Second))
	_ = ws.SetReadDeadline(time.Now().Add(5 * functionTimeout))
	if ws.WriteJSON(map[string]any{"type": "call", "ref": a.ID, "name": "do", "id": wire.CallKey(a.ID)}) != nil {
		return false
	}
	for {
		var m struct{ Type, Ref, Data, Code string }
		_, data, err := ws.ReadMessage()
		if err != nil {
			return false
		}
		if json.Unmarshal(data, &m) != nil || m.Ref != a.ID {
			continue // no frame of ours
		}
		if m.Type == "reply" {
			a.Replies = append(a.Replies, m.Data)
			return true
		}
		if m.Code != wire.CodeUnavailable || c.rng.IntN(2) == 0 { // else the reply may still come
			return false
		}
	}
}

// functionSecret signs what functions are sent.
var functionSecret = "SLUICE_FUNCTION_SECRET=whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32))

// functionFaults are those that functions must outlive: nothing that Redis had is lost.
const functionFaults = "worker,gateway,redis-kill,redis-restart,redis-stop,redis-script,link-cut,link-stall,link-away,link-delay"

// TestTortureFunctions keeps the promises about functions under faults.
func TestTortureFunctions(t *testing.T) {
	p := usual()
	p.duration = 6 * time.Second
	p.chosen(t)
	var err error
	if p.kinds, err = choose(functionFaults, p.redis.faults()); err != nil {
		t.Fatal(err)
	}
	f := newRecordingFunction(t, p.seed)
	r := &run{plan: p, source: rand.New(rand.NewPCG(p.seed, 0))}
	r.system = newSystem(t, binaries(t, false), p.redis, 0, "SLUICE_FUNCTIONS=call+connected+disconnected="+f.server.URL,
		functionSecret,
		"SLUICE_FUNCTION_TIMEOUT="+functionTimeout.String(), "SLUICE_CALL_TIMEOUT="+(2*functionTimeout).String())
	r.system.must("learn what functions take", func(ctx context.Context) error {
		return r.system.rdb.Get(ctx, "sluice:functions").Err()
	})
	calm, calmDown := context.WithCancel(context.Background())
	life, end := context.WithCancel(context.Background())
	defer end()
	var all []*caller
	var clients sync.WaitGroup
	for i := range callers {
		c := &caller{run: r, user: fmt.Sprint("caller", i), rng: r.rng()}
		all = append(all, c)
		clients.Go(func() { c.live(life, calm) })
	}
	schedule := draw(p.seed, p.duration, p.every, p.kinds)
	begin := time.Now()
	r.inflict(life, schedule)
	pause(life, p.duration-time.Since(begin))
	calmDown()
	r.system.heal()
	defer time.AfterFunc(2*p.patience, end).Stop()
	clients.Wait()

	log := &FunctionLog{Unsettled: "not all connections have ended for the function"}
	for deadline := time.Now().Add(lostTask); log.Unsettled != "" && time.Now().Before(deadline); pause(life, 50*time.Millisecond) {
		if log.Heard = f.all(); allEnded(log.Heard) {
			log.Unsettled = ""
		}
	}
	for _, c := range all {
		log.Asked = append(log.Asked, c.asked...)
	}
	r.system.must("read the effects", func(ctx context.Context) error {
		entries, err := r.system.rdb.XRange(ctx, historyKey(effectsTarget), "-", "+").Result()
		log.Effects = nil
		for _, e := range entries {
			var id string
			_ = json.Unmarshal([]byte(e.Values["data"].(string)), &id)
			log.Effects = append(log.Effects, id)
		}
		return err
	})
	t.Logf("seed %d: %d calls, %d attempts, %d effects, %d faults", p.seed, len(log.Asked), len(log.Heard), len(log.Effects), len(schedule))
	if wrong := CheckFunctions(log); len(wrong) > 0 {
		t.Errorf("seed %d: %d promises broken:\n%s\n%v", p.seed, len(wrong), strings.Join(wrong[:min(len(wrong), 20)], "\n"), schedule)
	}
	if len(log.Asked) < leastCalls*callers {
		t.Errorf("only %d calls were made", len(log.Asked))
	}
}

// allEnded reports whether the function has done what it heard of, up to the end of each connection.
func allEnded(heard []Heard) bool {
	begun, ended := map[string]bool{}, map[string]bool{}
	for _, h := range heard {
		begun[h.Conn] = true
		if h.Done && h.Kind == "sluice.disconnected" {
			ended[h.Conn] = true
		}
	}
	return len(begun) == len(ended)
}

// TestCheckFunctions changes a good log and says which promises are broken then.
func TestCheckFunctions(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	good := func() *FunctionLog {
		return &FunctionLog{
			Heard: []Heard{
				{"connected:c", "sluice.connected", "c", 1, at(0), at(1), true},
				{"call:a k0", "sluice.call", "c", 2, at(2), at(3), false},
				{"call:a k0", "sluice.call", "c", 2, at(4), at(5), true},
				{"call:a k1", "sluice.call", "c", 3, at(6), at(7), true},
				{"call:a k0", "sluice.call", "c", 2, at(6), at(9), true}, // by a worker that had been deposed
				{"disconnected:c", "sluice.disconnected", "c", 4, at(8), at(9), true},
				{"connected:d", "sluice.connected", "d", 1, at(7), at(8), true},
				{"call:a k1", "sluice.call", "d", 2, at(9), at(10), true}, // asked again
				{"disconnected:d", "sluice.disconnected", "d", 3, at(11), at(12), true},
			},
			Asked:   []AskedCall{{"call:a k0", []string{"call:a k0"}}, {"call:a k1", []string{"call:a k1"}}},
			Effects: []string{"call:a k0", "call:a k1"},
		}
	}
	for _, c := range []struct {
		name   string
		change func(l *FunctionLog)
		want   string // a part; "": nothing is broken
	}{
		{"nothing", func(*FunctionLog) {}, ""},
		{"an effect twice", func(l *FunctionLog) { l.Effects = append(l.Effects, "call:a k1") }, `"call:a k1" has 2 effects`},
		{"no effect", func(l *FunctionLog) { l.Effects = l.Effects[:1] }, `"call:a k1" has 0 effects`},
		{"an effect of nothing", func(l *FunctionLog) { l.Effects = append(l.Effects, "x") }, "nobody has heard"},
		{"no reply", func(l *FunctionLog) { l.Asked[0].Replies = nil }, "no reply"},
		{"the reply of another call", func(l *FunctionLog) { l.Asked[0].Replies[0] = "call:a k1" }, "has the reply"},
		{"a call that was not heard", func(l *FunctionLog) { l.Asked = append(l.Asked, AskedCall{"call:a k2", []string{"call:a k2"}}) }, "was not heard"},
		{"a call beside the one before it", func(l *FunctionLog) { l.Heard[3].Begin = at(4) }, "reordered"},
		{"the end before the last call", func(l *FunctionLog) { l.Heard[3].Seq, l.Heard[5].Seq = 4, 3 }, "is sluice.disconnected"},
		{"a call that was never done", func(l *FunctionLog) { l.Heard[3].Done = false }, "never done"},
		{"no end", func(l *FunctionLog) { l.Heard = l.Heard[:8] }, "event 2 of 2 is sluice.call"},
		{"two ends", func(l *FunctionLog) {
			l.Heard = append(l.Heard, Heard{"disconnected:d", "sluice.disconnected", "d", 4, at(13), at(14), true})
		}, "event 3 of 4 is sluice.disconnected"},
		{"no begin", func(l *FunctionLog) { l.Heard = slices.Delete(l.Heard, 6, 7) }, "where 1 was to come"},
		{"a hole", func(l *FunctionLog) { l.Heard = slices.Delete(l.Heard, 3, 4) }, "where 3 was to come"},
		{"one number for two events", func(l *FunctionLog) { l.Heard[3].Seq = 2 }, "was heard as"},
		{"it did not settle", func(l *FunctionLog) { l.Unsettled = "x" }, "not settled"},
	} {
		l := good()
		c.change(l)
		wrong := CheckFunctions(l)
		if c.want == "" && len(wrong) > 0 || c.want != "" && !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, c.want) }) {
			t.Errorf("%s: %q, want %q", c.name, wrong, c.want)
		}
	}
}
