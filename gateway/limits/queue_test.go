package limits

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// serve pops what may go, and gives it back at once if asked to.
func (q *Queue[T]) drain(back bool) (keys []string) {
	for {
		_, key, weight, ok := q.Pop()
		if !ok {
			return keys
		}
		keys = append(keys, key)
		if back {
			q.Done(key, weight)
		}
	}
}

func push(t *testing.T, q *Queue[int], key string, weight int64, n int) {
	t.Helper()
	for i := range n {
		if _, ok := q.Push(key, weight, i); !ok {
			t.Fatalf("%s %d was refused", key, i)
		}
	}
}

// TestTurns: who has much waiting does not hold up the others.
func TestTurns(t *testing.T) {
	for name, c := range map[string]struct {
		push func(t *testing.T, q *Queue[int])
		want string
	}{
		"one key, as they came": {func(t *testing.T, q *Queue[int]) { push(t, q, "a", 1, 3) }, "a a a"},
		"in turn":               {func(t *testing.T, q *Queue[int]) { push(t, q, "a", 1, 4); push(t, q, "b", 1, 2); push(t, q, "c", 1, 1) }, "a b c a b a a"},
		"by weight":             {func(t *testing.T, q *Queue[int]) { push(t, q, "a", 3, 2); push(t, q, "b", 1, 4) }, "a b b b a b"},
		"heavier than a share":  {func(t *testing.T, q *Queue[int]) { push(t, q, "a", 1000, 1); push(t, q, "b", 1, 1) }, "a b"},
	} {
		t.Run(name, func(t *testing.T) {
			q := NewQueue[int](Bounds{Size: 10})
			c.push(t, q)
			if got := strings.Join(q.drain(true), " "); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestLateKey: a key that comes late has no credit, and does not wait behind what others
// queued before it.
func TestLateKey(t *testing.T) {
	q := NewQueue[int](Bounds{Size: 1})
	push(t, q, "a", 1, 1000)
	for range 500 {
		_, key, weight, _ := q.Pop()
		q.Done(key, weight)
	}
	push(t, q, "b", 1, 10)
	got := q.drain(true)[:20]
	if n := strings.Count(strings.Join(got, ""), "b"); n < 9 || n > 10 {
		t.Errorf("%d of the first 20 were the late one's: %v", n, got)
	}
}

// TestKeySize: a key that gives nothing back has its share and no more.
func TestKeySize(t *testing.T) {
	q := NewQueue[int](Bounds{Size: 8, KeySize: 3})
	push(t, q, "a", 1, 10)
	if got := q.drain(false); len(got) != 3 {
		t.Fatalf("one key has %d of 8, its share is 3", len(got))
	}
	if q.Ready() {
		t.Error("a key with its share taken is ready")
	}
	if q.TryTake("a", 1) {
		t.Error("a key took more than its share")
	}
	if !q.TryTake("b", 3) {
		t.Error("another key is held up by it")
	}
	q.Done("a", 1)
	if got := q.drain(false); !slices.Equal(got, []string{"a"}) {
		t.Errorf("after one was given back: %v", got)
	}
	if q.Taken() != 6 || q.Waiting() != 6 {
		t.Errorf("%d are taken and %d wait", q.Taken(), q.Waiting())
	}
}

// TestNobodyOvertakes: small items do not keep a large one out for ever.
func TestNobodyOvertakes(t *testing.T) {
	q := NewQueue[int](Bounds{Size: 4})
	if !q.TryTake("a", 3) {
		t.Fatal("refused")
	}
	push(t, q, "b", 4, 1)
	if q.TryTake("c", 1) {
		t.Error("what fits overtook what waits")
	}
	q.Done("a", 3)
	if got := q.drain(true); !slices.Equal(got, []string{"b"}) {
		t.Errorf("got %v", got)
	}
}

// TestWaitingBounds: each bound of what waits refuses, and nothing is kept of who is
// refused.
func TestWaitingBounds(t *testing.T) {
	for name, c := range map[string]struct {
		bounds Bounds
		mine   int // that one key gets in
		others int // that five keys get in after it
	}{
		"in all":          {Bounds{Waiting: 7}, 7, 0},
		"of a key":        {Bounds{KeyWaiting: 3}, 3, 15},
		"weight in all":   {Bounds{WaitingWeight: 20}, 10, 0},
		"weight of a key": {Bounds{KeyWaitingWeight: 4}, 2, 10},
	} {
		t.Run(name, func(t *testing.T) {
			c.bounds.Size = 2
			q := NewQueue[int](c.bounds)
			if !q.TryTake("holder", 2) {
				t.Fatal("refused")
			}
			in := func(keys ...string) (n int) {
				for range 30 {
					for _, k := range keys {
						if _, ok := q.Push(k, 2, 0); ok {
							n++
						}
					}
				}
				return n
			}
			if mine, others := in("a"), in("b", "c", "d", "e", "f"); mine != c.mine || others != c.others {
				t.Errorf("%d and %d wait, want %d and %d", mine, others, c.mine, c.others)
			}
			q.Done("holder", 2)
			q.drain(true)
			if len(q.keys) != 0 {
				t.Errorf("%d keys are kept", len(q.keys))
			}
		})
	}
}

// TestQueueModel does anything in any order, and compares with what was promised.
func TestQueueModel(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 0))
		b := Bounds{Size: 1 + r.Int64N(20), Waiting: 40}
		b.KeySize = 1 + r.Int64N(b.Size)
		q := NewQueue[int](b)
		type held struct {
			key    string
			weight int64
		}
		var taken []held
		waiting := make(map[string][]*Item[int])
		values, heldBy, n := make(map[*Item[int]]int), make(map[string]int64), 0
		for range 400 {
			key := fmt.Sprint("k", r.IntN(5))
			weight := r.Int64N(6)
			switch r.IntN(5) {
			case 0:
				if q.TryTake(key, weight) {
					taken = append(taken, held{key, weight})
					heldBy[key] += min(weight, b.KeySize)
				}
			case 1, 2:
				if i, ok := q.Push(key, weight, n); ok {
					waiting[key], values[i] = append(waiting[key], i), n
					n++
				}
			case 3:
				if list := waiting[key]; len(list) > 0 {
					at := r.IntN(len(list))
					if !q.Remove(list[at]) || q.Remove(list[at]) {
						t.Fatal("what waits can be removed, once")
					}
					waiting[key] = slices.Delete(list, at, at+1)
				}
			case 4:
				if len(taken) > 0 {
					at := r.IntN(len(taken))
					q.Done(taken[at].key, taken[at].weight)
					heldBy[taken[at].key] -= min(taken[at].weight, b.KeySize)
					taken = slices.Delete(taken, at, at+1)
				}
			}
			for r.IntN(3) > 0 {
				v, k, w, ok := q.Pop()
				if !ok {
					break
				}
				if list := waiting[k]; len(list) == 0 || values[list[0]] != v {
					t.Fatalf("seed %d: %s got %d out of order", seed, k, v)
				}
				waiting[k] = waiting[k][1:]
				taken = append(taken, held{k, w})
				heldBy[k] += w
			}
			sum, all := int64(0), 0
			for k, w := range heldBy {
				if sum += w; w > b.KeySize {
					t.Fatalf("seed %d: %s has %d of %d", seed, k, w, b.KeySize)
				}
			}
			for _, list := range waiting {
				all += len(list)
			}
			if sum != q.Taken() || sum > b.Size || all != q.Waiting() {
				t.Fatalf("seed %d: taken %d, the queue says %d of %d; waiting %d, it says %d", seed, sum, q.Taken(), b.Size, all, q.Waiting())
			}
		}
		for len(taken) > 0 || q.Waiting() > 0 {
			for _, h := range taken {
				q.Done(h.key, h.weight)
			}
			taken = nil
			for {
				_, k, w, ok := q.Pop()
				if !ok {
					break
				}
				taken = append(taken, held{k, w})
			}
			if len(taken) == 0 && q.Waiting() > 0 {
				t.Fatalf("seed %d: %d wait and nothing is taken", seed, q.Waiting())
			}
		}
		if len(q.keys) != 0 || len(q.ready) != 0 || q.weight != 0 || q.taken != 0 {
			t.Fatalf("seed %d: an idle queue keeps %d keys", seed, len(q.keys))
		}
	}
}

// TestIdleKeysCostNothing: keys that come and go allocate nothing while nobody waits.
func TestIdleKeysCostNothing(t *testing.T) {
	q := NewQueue[int](Bounds{Size: 8})
	q.TryTake("x", 1)
	q.Done("x", 1)
	if n := testing.AllocsPerRun(1000, func() {
		q.TryTake("a", 1)
		q.TryTake("b", 1)
		q.Done("a", 1)
		q.Done("b", 1)
	}); n >= 1 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkQueue(b *testing.B) {
	q := NewQueue[int](Bounds{Size: 8})
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprint("user", i)
	}
	b.Run("take", func(b *testing.B) {
		for i := range b.N {
			q.TryTake(keys[i%len(keys)], 1)
			q.Done(keys[i%len(keys)], 1)
		}
	})
	b.Run("wait", func(b *testing.B) {
		for _, k := range keys {
			q.Push(k, 1, 0)
		}
		b.ReportAllocs()
		for b.Loop() {
			_, k, w, _ := q.Pop()
			q.Push(k, 1, 0)
			q.Done(k, w)
		}
	})
}
