package history

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// TestReadsShareABudget: what is read at the same time stays below the budget, one user has
// no more than its share of it, others do not wait for the surplus of one, and all get what
// they want, also what is larger than everything.
func TestReadsShareABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const budget, event = 1 << 20, 64 << 10
		var mu sync.Mutex
		under, most, flood := 0, 0, 0
		read := func(_ context.Context, queries ...*store.Query) error {
			mine := 0
			for _, q := range queries {
				mine += q.Limit * event
			}
			mu.Lock()
			under += mine
			most = max(most, under)
			mu.Unlock()
			time.Sleep(time.Second) // of the bubble's clock
			mu.Lock()
			under -= mine
			flood += len(queries)
			mu.Unlock()
			return nil
		}
		r := NewReader(read, budget, event)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { _ = r.Run(ctx) })
		ask := func(user string, n, limit int) {
			w := &Reading{}
			w.Target, w.After, w.Limit = fmt.Sprint("topic:", user, n), wire.ID{Ms: 1}, limit
			if err := r.Read(t.Context(), user, w); err != nil {
				t.Error(err)
			}
		}
		var readers sync.WaitGroup
		for n := range 100 {
			readers.Go(func() { ask("flood", n, 2) })
		}
		synctest.Wait()
		mu.Lock()
		if under == 0 || under > budget/userShare {
			t.Errorf("one user reads %d bytes at once, its share is %d", under, budget/userShare)
		}
		mu.Unlock()
		begin := time.Now()
		ask("bob", 0, 2)
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("another user waited %v", took)
		}
		ask("bob", 1, 1000) // larger than the budget
		for n := range 48 { // several users want all of it
			readers.Go(func() { ask(fmt.Sprint("many", n%8), n, 2) })
		}
		readers.Wait()
		cancel()
		all.Wait()
		if flood != 150 {
			t.Errorf("%d reads were done, want 150", flood)
		}
		// A read larger than a user's share counts as that, so that it can go at all.
		if most > budget*3/4+1000*event {
			t.Errorf("%d bytes were read at once, of a budget of %d", most, budget)
		}
	})
}
