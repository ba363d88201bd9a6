//go:build !race

package lock

import "sync"

// Mutex is a lock, of the row of Order that its parameter names.
type Mutex[L any] = sync.Mutex

// Checked says that locks are checked.
const Checked = false

// None panics under the race detector if the caller holds a Mutex.
func None(string) {}
