package limits

import "container/heap"

// Bounds are those of a Queue or a Semaphore. Weights are bytes, or counts: what they
// measure is the caller's.
type Bounds struct {
	Size    int64 // weight that may be taken at once, of all keys
	KeySize int64 // of one key; 0: Size

	// What may wait, besides what is taken. 0: no bound, where something else bounds it.
	Waiting          int
	KeyWaiting       int // of one key
	WaitingWeight    int64
	KeyWaitingWeight int64
}

// Queue is what waits for room, in turn by key: a key that has much waiting, or heavy
// items, does not hold up the others. Within a key the order is that of Push. A key that
// has KeySize taken is passed over until it gives something back.
//
// It is start-time fair queueing (Goyal, Vin, Cheng 1996): an item's turn comes at the
// weight that its key was given before, counted from when the key began to wait. Every
// operation takes O(log n) for n keys that wait, most take O(1). A key that has nothing
// taken and nothing waiting takes no memory.
//
// A weight above a key's size counts as that size, so that it can go alone. A Queue is not
// safe for concurrent use.
type Queue[T any] struct {
	bounds  Bounds
	keys    map[string]*account[T]
	ready   accounts[T] // keys whose first item waits only for room
	spare   []*account[T]
	taken   int64
	waiting int
	weight  int64  // of what waits
	now     int64  // the turn that was last given
	arrived uint64 // orders keys whose turn is the same
}

// Item is what waits in a Queue, for Remove.
type Item[T any] struct {
	account    *account[T] // nil: it waits no more
	prev, next *Item[T]
	weight     int64
	value      T
}

// account is what a key has.
type account[T any] struct {
	key           string
	taken, weight int64 // weight: of what waits
	waiting       int
	turn          int64 // when the first item may go; the next one that comes, while none waits
	arrived       uint64
	place         int // in ready, -1: not there
	first, last   *Item[T]
}

// spareAccounts are kept for keys that come and go with each item.
const spareAccounts = 64

// NewQueue makes an empty queue.
func NewQueue[T any](b Bounds) *Queue[T] {
	if b.KeySize <= 0 || b.KeySize > b.Size {
		b.KeySize = b.Size
	}
	return &Queue[T]{bounds: b, keys: make(map[string]*account[T])}
}

// TryTake takes a weight at once, if nobody has to wait for it: there is room, and no item
// of this key, or one of another key that could go, waits. Done must follow.
func (q *Queue[T]) TryTake(key string, weight int64) bool {
	weight = q.clamp(weight)
	if len(q.ready) > 0 || q.taken+weight > q.bounds.Size {
		return false
	}
	a := q.account(key)
	if a.waiting > 0 || a.taken+weight > q.bounds.KeySize {
		q.forget(a)
		return false
	}
	q.take(a, max(q.now, a.turn), weight)
	return true
}

// Push lets a value wait for its turn. false: as many wait as may, of all keys or of this
// one.
func (q *Queue[T]) Push(key string, weight int64, value T) (*Item[T], bool) {
	weight = q.clamp(weight)
	a, b := q.account(key), &q.bounds
	if over(q.waiting, b.Waiting) || over(a.waiting, b.KeyWaiting) ||
		overWeight(q.weight, weight, b.WaitingWeight) || overWeight(a.weight, weight, b.KeyWaitingWeight) {
		q.forget(a)
		return nil, false
	}
	i := &Item[T]{account: a, prev: a.last, weight: weight, value: value}
	if a.last == nil {
		a.first = i
		a.turn = max(q.now, a.turn)
		q.arrived++
		a.arrived = q.arrived
	} else {
		a.last.next = i
	}
	a.last = i
	q.count(a, 1, weight)
	q.settle(a)
	return i, true
}

func over(waiting, bound int) bool { return bound > 0 && waiting >= bound }

func overWeight(waiting, more, bound int64) bool {
	return bound > 0 && waiting > 0 && waiting+more > bound
}

// Pop takes the weight of the value whose turn it is. ok is false while nothing waits for
// which there is room. Done must follow, with the key and the weight.
func (q *Queue[T]) Pop() (value T, key string, weight int64, ok bool) {
	if len(q.ready) == 0 || q.taken+q.ready[0].first.weight > q.bounds.Size {
		return value, "", 0, false
	}
	a := q.ready[0]
	i := a.first
	value, key, weight = i.value, a.key, i.weight
	turn := a.turn
	q.unlink(i)
	q.take(a, turn, weight)
	q.arrived++
	a.arrived = q.arrived // others whose turn is the same come first
	q.settle(a)
	return value, key, weight, true
}

// Done gives back what TryTake or Pop took. Pop may have something after it.
func (q *Queue[T]) Done(key string, weight int64) {
	weight = q.clamp(weight)
	a := q.account(key)
	a.taken -= weight
	q.taken -= weight
	if a.taken < 0 || q.taken < 0 {
		panic("limits: more was given back than was taken")
	}
	q.settle(a)
	q.forget(a)
}

// Remove takes a value out that waits. false: Pop has given it. Pop may have something
// after it.
func (q *Queue[T]) Remove(i *Item[T]) bool {
	a := i.account
	if a == nil {
		return false
	}
	q.unlink(i)
	q.settle(a)
	q.forget(a)
	return true
}

// Waiting is how many values wait; Ready whether one of them waits only for room.
func (q *Queue[T]) Waiting() int { return q.waiting }

// Ready reports whether something waits whose key may have more.
func (q *Queue[T]) Ready() bool { return len(q.ready) > 0 }

// Taken is the weight that is taken.
func (q *Queue[T]) Taken() int64 { return q.taken }

func (q *Queue[T]) clamp(weight int64) int64 { return max(0, min(weight, q.bounds.KeySize)) }

// account is the key's; it is made if there is none.
func (q *Queue[T]) account(key string) *account[T] {
	a := q.keys[key]
	if a == nil {
		if n := len(q.spare); n > 0 {
			a, q.spare = q.spare[n-1], q.spare[:n-1]
		} else {
			a = new(account[T])
		}
		a.key, a.place, a.turn = key, -1, q.now
		q.keys[key] = a
	}
	return a
}

// forget removes a key that has nothing.
func (q *Queue[T]) forget(a *account[T]) {
	if a.taken > 0 || a.waiting > 0 {
		return
	}
	delete(q.keys, a.key)
	if *a = (account[T]{}); len(q.spare) < spareAccounts {
		q.spare = append(q.spare, a)
	}
}

// take gives a key weight in its turn.
func (q *Queue[T]) take(a *account[T], turn, weight int64) {
	a.taken += weight
	q.taken += weight
	q.now = max(q.now, turn)
	a.turn = turn + max(1, weight)
}

func (q *Queue[T]) count(a *account[T], n int, weight int64) {
	a.waiting += n
	a.weight += weight
	q.waiting += n
	q.weight += weight
}

func (q *Queue[T]) unlink(i *Item[T]) {
	a := i.account
	if i.prev == nil {
		a.first = i.next
	} else {
		i.prev.next = i.next
	}
	if i.next == nil {
		a.last = i.prev
	} else {
		i.next.prev = i.prev
	}
	q.count(a, -1, -i.weight)
	*i = Item[T]{}
}

// settle brings a key to its place among those that are ready.
func (q *Queue[T]) settle(a *account[T]) {
	ready := a.first != nil && a.taken+a.first.weight <= q.bounds.KeySize
	switch {
	case ready && a.place < 0:
		a.turn = max(a.turn, q.now) // time in which it could not go gives it no credit
		heap.Push(&q.ready, a)
	case ready:
		heap.Fix(&q.ready, a.place)
	case a.place >= 0:
		heap.Remove(&q.ready, a.place)
	}
}

// accounts are a heap, by turn.
type accounts[T any] []*account[T]

func (s accounts[T]) Len() int { return len(s) }

func (s accounts[T]) Less(i, j int) bool {
	a, b := s[i], s[j]
	return a.turn < b.turn || a.turn == b.turn && a.arrived < b.arrived
}

func (s accounts[T]) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].place, s[j].place = i, j
}

// Push is called by package heap.
func (s *accounts[T]) Push(x any) {
	a := x.(*account[T])
	a.place = len(*s)
	*s = append(*s, a)
}

// Pop is called by package heap.
func (s *accounts[T]) Pop() any {
	last := len(*s) - 1
	a := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	a.place = -1
	return a
}
