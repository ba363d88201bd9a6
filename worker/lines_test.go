package worker

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"sluice/shared/store"
	"sluice/shared/store/storetest"
	"sluice/shared/wire"
	"sluice/worker/functions"
)

// callsAt are the settings of a worker that calls a function.
func callsAt(f *httptest.Server) Config {
	return Config{Roles: []string{"functions"}, Functions: functions.Config{
		Functions: "call=" + f.URL, Secret: "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 24)), Timeout: time.Minute, RetryFor: time.Hour,
	}}
}

// addCall adds a call of alice, and returns its partition.
func addCall(t *testing.T, st *store.Store) int {
	t.Helper()
	list := []*store.Calling{{Of: store.CallEvent, Call: wire.Call{
		Kind: wire.CallKind, ID: wire.CallID("alice", "k"), User: "alice", Conn: "c1", Server: "g", Transport: wire.TransportWS, Name: "x", Data: "1",
	}}}
	if st.AddCalls(t.Context(), list); list[0].Err != nil {
		t.Fatal(list[0].Err)
	}
	return st.Partition("user:alice")
}

// TestLineOf: a user's coming and going does not wait for what the user has not read, whose function may fail for an hour, nor for calls.
func TestLineOf(t *testing.T) {
	lines := make(map[string]string)
	for _, kinds := range [][]string{{wire.OnlineKind, wire.OfflineKind}, {wire.UnreadKind}, {wire.ConnectedKind, wire.CallKind, wire.DisconnectedKind}} {
		all := make(map[string]bool)
		for _, kind := range kinds {
			all[lineOf(&wire.Call{Kind: kind, User: "alice", Conn: "c1", Transport: wire.TransportWS})] = true
		}
		if len(all) != 1 {
			t.Errorf("%v are %d lines", kinds, len(all))
		}
		for of := range all {
			if other := lines[of]; other != "" {
				t.Errorf("%v wait for %s", kinds, other)
			}
			lines[of] = kinds[0]
		}
	}
}

// TestRetryAfter: no attempt is made earlier than the function asks for.
func TestRetryAfter(t *testing.T) {
	const after = 2 * time.Second
	called := make(chan time.Time, 10)
	f := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		called <- time.Now()
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer f.Close()
	st := storetest.Open(t, storetest.OnRedis(t).URL, nil)
	addCall(t, st)
	start(t, newWorker(st, callsAt(f)).Run)
	for last, n := <-called, 0; n < 2; n++ {
		at := <-called
		if took := at.Sub(last); took < after {
			t.Errorf("it is called again after %v, want %v at least", took, after)
		}
		last = at
	}
}

// dueWorld has a call of alice, and its task that says when it is due is being worked on.
type dueWorld struct {
	t         *testing.T
	st        *store.Store
	redis     *storetest.Backend
	w         *Worker
	calls     *calls
	partition int
	of        wire.ID
	task, at  string // its id, and the begin of the names of its queue's keys
}

func newDueWorld(t *testing.T, f *httptest.Server) *dueWorld {
	t.Helper()
	redis := storetest.OnRedis(t)
	x := &dueWorld{t: t, st: storetest.Open(t, redis.URL, nil), redis: redis}
	x.w = newWorker(x.st, callsAt(f))
	x.w.tasks = newTasks(x.w)
	caller, err := functions.NewCaller(&x.w.functions, "test")
	if err != nil {
		t.Fatal(err)
	}
	x.calls = newCalls(x.w, caller)
	x.partition = addCall(t, x.st)
	x.of = x.entries()[0].ID
	x.task, x.at = dueID(x.partition, x.of), "asynq:{"+x.st.Tasks().Queue(functionDue.queue)+"}:"
	payload, _ := json.Marshal(dueTask{Partition: x.partition, Of: x.of.String(), Tries: 1})
	if err := x.w.tasks.begin(t.Context(), functionDue, x.task, payload, asynq.ProcessIn(time.Hour)); err != nil {
		t.Fatal(err)
	}
	x.do("ZREM", x.at+"scheduled", x.task)
	x.do("HSET", x.at+"t:"+x.task, "state", "active")
	x.do("LPUSH", x.at+"active", x.task)
	return x
}

func (x *dueWorld) do(words ...any) {
	x.t.Helper()
	if err := x.redis.Client.Do(x.t.Context(), words...).Err(); err != nil {
		x.t.Fatal(words, err)
	}
}

// endTask ends the task.
func (x *dueWorld) endTask() {
	x.t.Helper()
	x.do("LREM", x.at+"active", 0, x.task)
	x.do("DEL", x.at+"t:"+x.task)
}

// entries are those of the calls' stream.
func (x *dueWorld) entries() (entries []store.Entry) {
	x.t.Helper()
	for _, m := range x.redis.Client.XRange(x.t.Context(), storetest.Key(x.partition, "calls"), "-", "+").Val() {
		id, err := wire.ParseID(m.ID)
		if err != nil {
			x.t.Fatal(err)
		}
		entries = append(entries, store.Entry{Partition: x.st.CallsOf(x.partition), ID: id, Fields: m.Values})
	}
	return entries
}

// process begins a term, up to seen of an earlier one, and works on entries. It ends with the test.
func (x *dueWorld) process(seen wire.ID, entries []store.Entry) {
	x.t.Helper()
	term := x.st.CallsOf(x.partition)
	if err := x.calls.begin(x.t.Context(), store.Term{Partition: term, Seen: seen}); err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() {
		x.calls.end(term)
		x.calls.wait()
	})
	if _, _, err := x.calls.process(x.t.Context(), nil, entries); err != nil {
		x.t.Fatal(err)
	}
}

// TestDueBeforeTheLineWaits: a task has said that an event is due, and has not ended yet, when the next owner of the calls reads both
// at once. The event is tried when the task has ended, though nobody says so any more.
func TestDueBeforeTheLineWaits(t *testing.T) {
	called := make(chan struct{}, 1)
	f := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called <- struct{}{} }))
	defer f.Close()
	x := newDueWorld(t, f)
	if err := x.st.AddDue(t.Context(), x.partition, wire.Due{Of: x.of, Tries: 1}); err != nil {
		t.Fatal(err)
	}
	entries := x.entries()
	x.process(entries[len(entries)-1].ID, entries)
	select {
	case <-called:
		t.Error("the event is tried while its task is under way")
	case <-time.After(2 * callRetry):
	}
	x.endTask()
	select {
	case <-called:
	case <-time.After(20 * time.Second):
		t.Error("the event is not tried")
	}
}

// TestBeginWhileItEnds: a task that is begun while the one of its id ends, as when a client is slow again, is there afterwards.
func TestBeginWhileItEnds(t *testing.T) {
	f := httptest.NewServer(http.NotFoundHandler())
	defer f.Close()
	x := newDueWorld(t, f)
	begun := make(chan error, 1)
	go func() { begun <- x.w.tasks.begin(t.Context(), functionDue, x.task, nil, asynq.ProcessIn(time.Hour)) }()
	time.Sleep(taskLook)
	x.endTask()
	if err := <-begun; err != nil {
		t.Fatal(err)
	}
	if is, err := x.w.tasks.state(functionDue, x.task); is != taskWaits || err != nil {
		t.Errorf("the task is %v, %v", is, err)
	}
}

// TestFailsBeforeItsTaskEnds: the task that said that an event is due may end later than the next attempt fails. Another one says
// when it is due again, which cannot begin before that.
func TestFailsBeforeItsTaskEnds(t *testing.T) {
	called := make(chan struct{}, 1)
	f := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		called <- struct{}{}
	}))
	defer f.Close()
	x := newDueWorld(t, f)
	x.process(wire.ID{}, x.entries())
	<-called
	time.Sleep(2 * callRetry)
	x.endTask()
	for end := time.Now().Add(20 * time.Second); x.redis.Client.ZCard(t.Context(), x.at+"scheduled").Val() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing will say that the event is due")
		}
	}
}

// TestResumeOfAnEarlierTerm: who still looks for the task of an event when its term is over leaves the line alone that waits for
// the same task in the next term of this worker: it would wait for ever.
func TestResumeOfAnEarlierTerm(t *testing.T) {
	w := newWorker(storetest.Unasked(t, nil), Config{})
	c := newCalls(w, nil)
	e := &callEvent{Entry: store.Entry{Partition: 9, ID: wire.ID{Ms: 1}}, call: wire.Call{User: "alice"}}
	key := lineKey{9, lineOf(&e.call)}
	term := func() *line {
		if err := c.begin(t.Context(), store.Term{Partition: 9}); err != nil {
			t.Fatal(err)
		}
		l := &line{key: key, term: c.terms[9], events: []*callEvent{e}}
		c.lines[key] = l
		c.await(l, e)
		return l
	}
	before := term()
	c.end(9)
	now := term()
	defer c.end(9)
	if c.await(before, e); c.resume(before, e) {
		t.Error("a line of a term that is over goes on")
	}
	if !c.resume(now, e) {
		t.Error("the line of the next term waits for nothing")
	}
}
