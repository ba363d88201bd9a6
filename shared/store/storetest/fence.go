package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// fenceAppend: what a deposed owner appends has no effect, whenever it was deposed.
func (x *suite) fenceAppend(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	target := targetIn(0, 0)
	nothing := func(when string, o *owner) {
		t.Helper()
		appends := appendsOf(s, target, wire.ID{}, id(9, 9))
		routes := []*store.Route{{Partition: 0, Target: target}}
		wantError(t, when, o.lane.AppendAndRoute(ctx, appends, routes), store.ErrFenced)
		want(t, "keys of histories "+when, x.Client.Exists(ctx, Key(0, "history:"+target)).Val(), 0)
	}
	a := x.own(t, s, "a", 0)
	x.add(t, 0, target, 1)
	a.next()
	a.leave()
	b := x.own(t, s, "b", 0)
	nothing("between the read and the append", a)
	nothing("once more", a)

	b.next()
	must(t, b.lane.AppendAndRoute(ctx, nil, []*store.Route{{Partition: 0, Target: target}}))
	b.leave()
	c := x.own(t, s, "c", 0)
	nothing("between two transactions", b)

	c.next()
	must(t, x.Client.Del(ctx, Key(0, "epoch")).Err())
	nothing("after the epoch was lost", c)
	c.take("again", 0)
	c.next()
	c.append(target, wire.ID{}, id(1, 1))
	c.append(target, id(1, 1), id(2, 1)) // a second transaction without a read between
}

func (x *suite) fencePrepare(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	a := x.own(t, s, "a", 0)
	a.next()
	a.leave()
	x.own(t, s, "b", 0)
	target := targetIn(0, 0)
	claims := []*store.Claim{{Partition: 0, To: target, Key: "k", ID: id(1, 1)}}
	wantError(t, "claim by a deposed owner", a.lane.Prepare(ctx, claims, nil, time.Minute), store.ErrFenced)
	want(t, "keys", x.Client.Exists(ctx, Key(0, "idem:"+target+":k")).Val(), 0)
}

// blocked: a takeover ends the deposed owner's read at once.
func (x *suite) fenceBlocked(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	for name, fence := range map[string]func(){
		"takeover":         func() { x.own(t, s, "b", 0) },
		"lost group":       func() { must(t, x.Client.XGroupDestroy(ctx, Key(0, "events"), "workers-generation-a").Err()) },
		"lost stream":      func() { must(t, x.Client.Del(ctx, Key(0, "events")).Err()) },
		"lost of all":      func() { x.each(t, "FLUSHALL") },
		"other generation": func() { _, _ = s.TakeOver(ctx, "a", "generation-b", leaseTTL, []int{0}) },
	} {
		t.Run(name, func(t *testing.T) {
			x.reset(t)
			a := x.own(t, s, "a", 0)
			a.next()
			a.leave()
			a.read.Block = time.Minute // cut to half of the link's time limit
			blocked := make(chan error, 1)
			go func() {
				_, err := a.commit(nil)
				blocked <- err
			}()
			x.awaitBlocked(t, 1)
			fence()
			wantError(t, "blocked read", <-blocked, store.ErrFenced)
		})
	}
}

// awaitBlocked waits until the server has n blocked clients. The embedded one does not
// tell; there the read comes before or after the fence, with the same outcome.
func (x *suite) awaitBlocked(t *testing.T, n int) {
	t.Helper()
	if !x.real() {
		return
	}
	Eventually(t, func() error {
		blocked := 0
		for _, info := range x.each(t, "INFO", "clients") {
			_, after, _ := strings.Cut(fmt.Sprint(info), "blocked_clients:")
			here := 0
			if _, err := fmt.Sscan(after, &here); err != nil {
				return err
			}
			blocked += here
		}
		if blocked != n {
			return fmt.Errorf("%d clients are blocked", blocked)
		}
		return nil
	})
}

// lost keys: whoever deletes what belongs to a term ends it, and the next one works.
func (x *suite) fenceLostKeys(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	for name, lose := range map[string]func(){
		"group":      func() { must(t, x.Client.XGroupDestroy(ctx, Key(0, "events"), "workers-generation-a").Err()) },
		"stream":     func() { must(t, x.Client.Del(ctx, Key(0, "events")).Err()) },
		"everything": func() { x.each(t, "FLUSHALL") },
	} {
		t.Run(name, func(t *testing.T) {
			x.reset(t)
			a := x.own(t, s, "a", 0)
			ids := x.add(t, 0, targetIn(0, 0), 1)
			a.next()
			lose()
			_, err := a.commit([]store.Outgoing{{Server: "g", Payload: []byte("x")}}, ackOf(0, ids...))
			wantError(t, "commit", err, store.ErrFenced)
			a.take("fresh", 0)
			ids = append(ids, x.add(t, 0, targetIn(0, 0), 1)...)
			if name != "group" {
				ids = ids[1:]
			} // else nobody knows any more what was acknowledged: all is read again
			want(t, "entries of the next term", idsOf(a.next()), ids)
		})
	}
}
