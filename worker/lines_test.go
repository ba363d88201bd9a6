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

// TestDueBeforeTheLineWaits: a task has said that an event is due, and has not ended yet, when the next owner of the calls reads both
// at once. The event is tried when the task has ended, though nobody says so any more.
func TestDueBeforeTheLineWaits(t *testing.T) {
	called := make(chan struct{}, 1)
	f := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called <- struct{}{} }))
	defer f.Close()
	redis := storetest.OnRedis(t)
	st := storetest.Open(t, redis.URL, nil)
	w := newWorker(st, callsAt(f))
	w.tasks = newTasks(w)
	caller, err := functions.NewCaller(&w.functions, "test")
	if err != nil {
		t.Fatal(err)
	}
	p := addCall(t, st)
	read := func() (entries []store.Entry) {
		for _, m := range redis.Client.XRange(t.Context(), storetest.Key(p, "calls"), "-", "+").Val() {
			id, err := wire.ParseID(m.ID)
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, store.Entry{Partition: st.CallsOf(p), ID: id, Fields: m.Values})
		}
		return entries
	}
	of := read()[0].ID
	payload, _ := json.Marshal(dueTask{Partition: p, Of: of.String(), Tries: 1})
	task := dueID(p, of)
	if err := w.tasks.begin(t.Context(), functionDue, task, payload, asynq.ProcessIn(time.Hour)); err != nil {
		t.Fatal(err)
	}
	at := "asynq:{" + st.Tasks().Queue(functionDue.queue) + "}:"
	do := func(words ...any) {
		t.Helper()
		if err := redis.Client.Do(t.Context(), words...).Err(); err != nil {
			t.Fatal(words, err)
		}
	}
	do("ZREM", at+"scheduled", task) // it is worked on
	do("HSET", at+"t:"+task, "state", "active")
	do("LPUSH", at+"active", task)
	if err := st.AddDue(t.Context(), p, wire.Due{Of: of, Tries: 1}); err != nil {
		t.Fatal(err)
	}

	entries := read()
	c := newCalls(w, caller)
	if err := c.begin(t.Context(), store.Term{Partition: st.CallsOf(p), Seen: entries[len(entries)-1].ID}); err != nil {
		t.Fatal(err)
	}
	defer c.wait()
	defer c.end(st.CallsOf(p))
	if _, _, err := c.process(t.Context(), nil, entries); err != nil {
		t.Fatal(err)
	}
	select {
	case <-called:
		t.Error("the event is tried while its task is under way")
	case <-time.After(2 * callRetry):
	}
	do("LREM", at+"active", 0, task) // it has ended
	do("DEL", at+"t:"+task)
	select {
	case <-called:
	case <-time.After(20 * time.Second):
		t.Error("the event is not tried")
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
	redis := storetest.OnRedis(t)
	st := storetest.Open(t, redis.URL, nil)
	w := newWorker(st, callsAt(f))
	w.tasks = newTasks(w)
	caller, err := functions.NewCaller(&w.functions, "test")
	if err != nil {
		t.Fatal(err)
	}
	p := addCall(t, st)
	m := redis.Client.XRange(t.Context(), storetest.Key(p, "calls"), "-", "+").Val()[0]
	of, err := wire.ParseID(m.ID)
	if err != nil {
		t.Fatal(err)
	}
	task, at := dueID(p, of), "asynq:{"+st.Tasks().Queue(functionDue.queue)+"}:"
	if err := w.tasks.begin(t.Context(), functionDue, task, nil, asynq.ProcessIn(time.Hour)); err != nil {
		t.Fatal(err)
	}
	rdb := redis.Client
	rdb.ZRem(t.Context(), at+"scheduled", task) // it is worked on
	rdb.HSet(t.Context(), at+"t:"+task, "state", "active")
	rdb.LPush(t.Context(), at+"active", task)

	c := newCalls(w, caller)
	if err := c.begin(t.Context(), store.Term{Partition: st.CallsOf(p)}); err != nil {
		t.Fatal(err)
	}
	defer c.wait()
	defer c.end(st.CallsOf(p))
	if _, _, err := c.process(t.Context(), nil, []store.Entry{{Partition: st.CallsOf(p), ID: of, Fields: m.Values}}); err != nil {
		t.Fatal(err)
	}
	<-called
	time.Sleep(2 * callRetry)
	rdb.LRem(t.Context(), at+"active", 0, task) // it has ended
	rdb.Del(t.Context(), at+"t:"+task)
	for end := time.Now().Add(20 * time.Second); rdb.ZCard(t.Context(), at+"scheduled").Val() == 0; time.Sleep(10 * time.Millisecond) {
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
