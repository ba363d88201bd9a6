package hostile_test

import (
	"fmt"
	"sync/atomic"
	"testing"
)

const (
	idleClients = 1500 // of each of two crowds
	idleMost    = 4096 // bytes of the heap that one of them may take, with all limits on
)

// TestIdleClientIsSmall: an idle client with its user, `all` and a topic of its own takes less than 4 KiB of the gateway's
// heap, its shares of the limits included. The second of two crowds is measured: with the first one came what is there once
// for all, such as connections to Redis.
func TestIdleClientIsSmall(t *testing.T) {
	s := start(t)
	a := &attacker{name: "idle", addr: s.addr, spread: 50}
	t.Cleanup(func() {
		for _, nc := range a.kept {
			_ = nc.Close()
		}
	})
	empty, err := s.look()
	if err != nil {
		t.Fatal(err)
	}
	var next atomic.Int64
	come := func(all int) (now state) {
		t.Helper()
		a.crowd(50, func(int) {
			for i := int(next.Add(1)); i <= all; i = int(next.Add(1)) {
				if p := a.member(i, fmt.Sprint("topics=", a.user(i)), a.user(i)); p != nil {
					a.hold(p)
				}
			}
		})
		next.Store(int64(all))
		s.await("all of them are there, and nothing is under way", func() (err error) {
			if now, err = s.look(); err == nil && (int(now.connections) != all || now.goroutines > empty.goroutines+10) {
				err = fmt.Errorf("%+v", now)
			}
			return err
		})
		return now
	}
	before := come(idleClients)
	now := come(2 * idleClients)
	each := (now.heap - before.heap) / idleClients
	t.Logf("%.0f bytes of the heap for each of %d clients", each, idleClients)
	if each > idleMost {
		t.Errorf("that is more than %d", idleMost)
	}
}
