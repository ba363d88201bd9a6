// Package answers keeps who waits for an answer of a worker and has no connection: a request over HTTP, a client of which a
// function is asked who it is.
package answers

import (
	"crypto/rand"
	"sync"
)

// Addresses are those who wait, by the address that they have for it on this gateway. The zero value has none.
type Addresses[T any] struct {
	mu   sync.Mutex
	byID map[string]T
}

// Get is who has an address; ok: somebody has.
func (a *Addresses[T]) Get(id string) (one T, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	one, ok = a.byID[id]
	return one, ok
}

// Add gives one an address, until leave.
func (a *Addresses[T]) Add(one T) (id string, leave func()) {
	id = rand.Text()[:16] // as connections have
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byID == nil {
		a.byID = make(map[string]T)
	}
	a.byID[id] = one
	return id, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.byID, id)
	}
}
