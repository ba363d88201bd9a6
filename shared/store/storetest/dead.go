package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store"
	"sluice/shared/wire"
)

func letter(partition int, at wire.ID, reason string, fields map[string]any) store.DeadLetter {
	return store.DeadLetter{Entry: store.Entry{Partition: partition, ID: at, Fields: fields}, Reason: reason}
}

func (x *suite) bury(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	letters := []store.DeadLetter{
		letter(3, id(5, 6), "bad_to", map[string]any{"to": "\xff", "data": "", "own": "x"}),
		letter(store.Intake, id(5, 6), "no_data", map[string]any{}),
		letter(4, id(5, 6), "no_data", nil),
	}
	for n := range letters {
		must(t, s.Bury(ctx, letters[:n+1])) // each time with what was there before
	}
	got, err := s.DeadLetters(ctx, "", 10)
	must(t, err)
	for i := range got {
		got[i].ID = ""
	}
	want(t, "dead letters", got, []store.Buried{
		{Reason: "bad_to", Stream: Key(3, "events"), Entry: "5-6", Fields: map[string]string{"to": "\xff", "data": "", "own": "x"}},
		{Reason: "no_data", Stream: "sluice:events", Entry: "5-6", Fields: map[string]string{}},
		{Reason: "no_data", Stream: Key(4, "events"), Entry: "5-6", Fields: map[string]string{}},
	})
	want(t, "as it is documented", x.Client.XRange(ctx, "sluice:dead", "-", "+").Val()[0].Values, map[string]any{
		"reason": "bad_to", "stream": Key(3, "events"), "entry": "5-6", "f:to": "\xff", "f:data": "", "f:own": "x",
	})
	must(t, s.Bury(ctx, nil))
}

// many fields: what makes the event comes before what is too much.
func (x *suite) buryManyFields(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	fields := map[string]any{"to": "nobody", "data": "d", "id": "k"}
	for i := range 5000 {
		fields[fmt.Sprint("n", i)] = fmt.Sprint(i)
	}
	must(t, s.Bury(ctx, []store.DeadLetter{letter(0, id(1, 1), "bad_to", fields)}))
	entry := x.Client.XRange(ctx, "sluice:dead", "-", "+").Val()[0].Values
	for name, value := range map[string]string{"f:to": "nobody", "f:data": "d", "f:id": "k", "truncated": "1", "reason": "bad_to"} {
		want(t, "field "+name, entry[name], any(value))
	}
	if len(entry) < 1000 {
		t.Fatalf("%d fields are left of 5000", len(entry))
	}
}

// failure: a dead letter that could not be added is added by the repeat.
func (x *suite) buryFailure(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	must(t, x.Client.Set(ctx, "sluice:dead", "no stream", 0).Err())
	must(t, x.Client.Set(ctx, "sluice:{sluice:dead}:waiting", "no stream", 0).Err())
	letters := []store.DeadLetter{letter(0, id(1, 1), "r", map[string]any{"to": "x"})}
	wantReply(t, "Bury", s.Bury(ctx, letters), "WRONGTYPE")
	must(t, x.Client.Del(ctx, "sluice:dead", "sluice:{sluice:dead}:waiting").Err())
	for range 2 {
		must(t, s.Bury(ctx, letters))
		want(t, "dead letters", x.Client.XLen(ctx, "sluice:dead").Val(), 1)
	}
}

// claims: a dead letter gives its own idempotency key up, and nobody else's.
func (x *suite) buryClaims(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0)
	a.next()
	to := targetIn(0, 0)
	mine, other := &store.Claim{To: to, Key: "mine", ID: id(1, 1)}, &store.Claim{To: to, Key: "other", ID: id(1, 1)}
	must(t, a.lane.Prepare(ctx, []*store.Claim{mine, other}, nil, time.Minute))
	other.ID = id(2, 2)
	first, second := letter(0, id(1, 1), "r", nil), letter(0, id(2, 2), "r", nil)
	first.Claim, second.Claim = mine, other
	must(t, s.Bury(ctx, []store.DeadLetter{first, second}))
	want(t, "own claim", x.Client.Exists(ctx, Key(0, "idem:"+to+":mine")).Val(), 0)
	want(t, "claim of another event", x.Client.Get(ctx, Key(0, "idem:"+to+":other")).Val(), "1-1")
}

// bad key: while the key of the dead letters holds something else they wait, and come to where
// they belong when it is deleted. Nothing is lost, and nothing stops.
func (x *suite) buryBad(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	must(t, x.Client.Set(ctx, "sluice:dead", "no stream", 0).Err())
	var letters []store.DeadLetter
	for i := range 25 {
		letters = append(letters, letter(0, id(uint64(i), 1), fmt.Sprint(i), map[string]any{"to": "topic:x", "data": strings.Repeat("x", 300_000)}))
	}
	for range 2 { // a repeat adds nothing; more than what goes out at once
		must(t, s.Bury(ctx, letters))
		_, err := s.MendDead(ctx)
		wantBad(t, "dead letters", err)
	}
	must(t, x.Client.Del(ctx, "sluice:dead").Err())
	moved, err := s.MendDead(ctx)
	must(t, err)
	want(t, "moved", moved, len(letters))
	moved, err = s.MendDead(ctx)
	must(t, err)
	want(t, "moved by a repeat", moved, 0)
	buried, err := s.DeadLetters(ctx, "", 100)
	must(t, err)
	want(t, "dead letters", len(buried), len(letters))
	for i, b := range buried {
		want(t, "reason", b.Reason, fmt.Sprint(i))
		want(t, "data", len(b.Fields["data"]), 300_000)
	}
}

// too many: the oldest dead letters go, also of those that wait, when there are too many of them, or too many bytes.
func (x *suite) buryTooMany(t *testing.T) {
	const most, size, bytes = 10_000, 100_000, 1 << 20
	ctx, s := t.Context(), x.open(t, nil)
	keys := []string{"sluice:dead", "sluice:{sluice:dead}:waiting"}
	trimmed := func(bytes int) int {
		t.Helper()
		gone, err := s.TrimDead(ctx, bytes)
		must(t, err)
		return gone
	}
	want(t, "gone of nothing", trimmed(bytes), 0)
	for _, key := range keys {
		pipe := x.Client.Pipeline()
		for i := range most + 3 {
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: key, ID: fmt.Sprintf("%d-1", i+1), Values: []string{"f:to", "x"}})
		}
		_, err := pipe.Exec(ctx)
		must(t, err)
	}
	want(t, "gone of many", trimmed(1<<30), 3*len(keys))
	want(t, "the oldest one", x.Client.XRangeN(ctx, keys[0], "-", "+", 1).Val()[0].ID, "4-1")
	must(t, x.Client.Del(ctx, keys...).Err())

	for _, key := range keys {
		for i := range 50 {
			must(t, x.Client.XAdd(ctx, &redis.XAddArgs{Stream: key, ID: fmt.Sprintf("%d-1", i+1), Values: []string{"f:data", strings.Repeat("x", size)}}).Err())
		}
	}
	if x.Client.MemoryUsage(ctx, keys[0], 0).Err() != nil { // the embedded Redis does not tell it
		want(t, "gone where bytes are not known", trimmed(bytes), 0)
		return
	}
	gone, left := trimmed(bytes), 0
	for _, key := range keys {
		all := x.Client.XRange(ctx, key, "-", "+").Val()
		left += len(all)
		if n := len(all); n < bytes/size/2 || n > bytes/size || all[n-1].ID != "50-1" {
			t.Errorf("%d dead letters of %d bytes are left in %s, up to %s", n, size, key, all[n-1].ID)
		}
	}
	want(t, "gone and left", gone+left, 100)
	want(t, "gone of the newest", trimmed(1), left-len(keys))
}

func (x *suite) deadLetters(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	none, err := s.DeadLetters(ctx, "", 10)
	must(t, err)
	want(t, "dead letters", len(none), 0)
	var letters []store.DeadLetter
	for i := range 5 {
		letters = append(letters, letter(0, id(uint64(i), 1), fmt.Sprint(i), nil))
	}
	must(t, s.Bury(ctx, letters))
	var reasons []string
	for after := ""; ; {
		page, err := s.DeadLetters(ctx, after, 2)
		must(t, err)
		for _, b := range page {
			reasons, after = append(reasons, b.Reason), b.ID
		}
		if len(page) < 2 {
			break
		}
	}
	want(t, "reasons", reasons, []string{"0", "1", "2", "3", "4"})
	page, err := s.DeadLetters(ctx, "", 1)
	must(t, err)
	must(t, s.DropDead(ctx, page[0].ID))
	want(t, "dead letters", x.Client.XLen(ctx, "sluice:dead").Val(), 4)
	wantError(t, "DropDead again", s.DropDead(ctx, page[0].ID), store.ErrNoDeadLetter)
	wantReply(t, "DropDead of nonsense", s.DropDead(ctx, "nonsense"), "")
}

func (x *suite) requeue(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	must(t, s.Bury(ctx, []store.DeadLetter{
		letter(2, id(1, 1), "r", map[string]any{"to": targetIn(2, 0), "data": "d", "id": "k", "reply": "g c r", "own": "x"}),
		letter(store.Intake, id(1, 2), "r", map[string]any{"to": targetIn(2, 0), "data": "e"}),
		letter(2, id(1, 3), "r", nil),
	}))
	all, err := s.DeadLetters(ctx, "", 10)
	must(t, err)
	for _, b := range all[:2] {
		must(t, s.Requeue(ctx, b.ID))
		wantError(t, "Requeue again", s.Requeue(ctx, b.ID), store.ErrNoDeadLetter)
	}
	want(t, "put back", x.Client.XRange(ctx, Key(2, "events"), "-", "+").Val()[0].Values,
		map[string]any{"to": targetIn(2, 0), "data": "d", "id": "k"})
	want(t, "put back without a key of its own", x.Client.XRange(ctx, "sluice:events", "-", "+").Val()[0].Values,
		map[string]any{"to": targetIn(2, 0), "data": "e", "id": "requeued:" + all[1].ID})
	want(t, "dead letters", x.Client.XLen(ctx, "sluice:dead").Val(), 1)

	// Half an id stands for many entries.
	must(t, x.Client.Do(ctx, "XADD", "sluice:dead", "99999999999999-7", "stream", Key(2, "events"), "f:to", "x").Err())
	wantError(t, "Requeue of half an id", s.Requeue(ctx, "99999999999999"), store.ErrNoDeadLetter)
	want(t, "entries of the partition", x.Client.XLen(ctx, Key(2, "events")).Val(), 1)
	// Only ingress streams get entries back; no partition has the tag 4.
	for i, stream := range []string{"elsewhere", "sluice:dead", "sluice:{4}:events", ""} {
		as := fmt.Sprintf("99999999999999-%d", 8+i)
		must(t, x.Client.Do(ctx, "XADD", "sluice:dead", as, "stream", stream, "f:to", "x").Err())
		if err := s.Requeue(ctx, as); err == nil {
			t.Errorf("a dead letter of %q was put back", stream)
		}
		want(t, "dead letter is there still", len(x.Client.XRange(ctx, "sluice:dead", as, as).Val()), 1)
	}
}
