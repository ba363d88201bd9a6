//go:build race

package lock

import (
	"fmt"
	"reflect"
	"sync"

	"github.com/petermattis/goid"
)

// Checked says that locks are checked.
const Checked = true

// Mutex is a lock, of the row of Order that its parameter names. One that is taken out of its turn panics, whether or
// not another goroutine wants it.
type Mutex[L any] struct{ mu sync.Mutex }

// Lock takes it.
func (m *Mutex[L]) Lock() {
	take(kindOf[L]())
	m.mu.Lock()
}

// Unlock gives it back, in the goroutine that took it.
func (m *Mutex[L]) Unlock() {
	m.mu.Unlock()
	give(kindOf[L]())
}

// None panics if the caller holds a Mutex.
func None(doing string) {
	me := goid.Get()
	x := part(me)
	defer x.Unlock()
	if held := x.held[me]; held.n > 0 {
		panic(fmt.Sprintf("lock: %s while %v is held", doing, kinds[held.what[held.n-1]]))
	}
}

// kind is an index into kinds.
type kind uint8

var kinds, rows = func() (kinds []reflect.Type, rows []int) {
	for i, row := range Order {
		for _, of := range row {
			kinds, rows = append(kinds, reflect.TypeOf(of)), append(rows, i)
		}
	}
	return kinds, rows
}()

func kindOf[L any]() kind {
	what := reflect.TypeFor[L]()
	for i, of := range kinds {
		if of == what {
			return kind(i)
		}
	}
	panic(fmt.Sprintf("lock: %v is not in the order", what))
}

// stack is what a goroutine holds, the latest last: of each row one at most. Its size makes it no garbage in a map.
type stack struct {
	n    int
	what [24]kind
}

// holders are the goroutines that hold something, a part of them.
type holders struct {
	sync.Mutex
	held map[int64]stack // by goroutine
}

var all [64]holders

// part is that of a goroutine, locked.
func part(goroutine int64) *holders {
	x := &all[goroutine%int64(len(all))]
	x.Lock()
	if x.held == nil {
		x.held = make(map[int64]stack)
	}
	return x
}

func take(what kind) {
	me := goid.Get()
	x := part(me)
	defer x.Unlock()
	mine := x.held[me]
	if mine.n > 0 {
		if last := mine.what[mine.n-1]; rows[last] >= rows[what] {
			panic(fmt.Sprintf("lock: takes %v while %v is held, against the order", kinds[what], kinds[last]))
		}
	}
	mine.what[mine.n] = what
	mine.n++
	x.held[me] = mine
}

func give(what kind) {
	me := goid.Get()
	x := part(me)
	defer x.Unlock()
	mine := x.held[me]
	kept := mine.what[:0]
	for _, held := range mine.what[:mine.n] {
		if held != what {
			kept = append(kept, held)
		}
	}
	if len(kept) == mine.n {
		panic(fmt.Sprintf("lock: gives %v back, which this goroutine does not hold", kinds[what]))
	}
	if mine.n = len(kept); mine.n == 0 {
		delete(x.held, me)
		return
	}
	x.held[me] = mine
}
