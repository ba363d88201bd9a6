//go:build race

package lock_test

import (
	"fmt"
	"strings"
	"testing"

	"sluice/gateway/lock"
)

// TestOrder: what is taken out of its turn panics, and says what it is.
func TestOrder(t *testing.T) {
	var shard, other lock.Mutex[lock.Shard]
	var conn lock.Mutex[lock.Conn]
	var conns lock.Mutex[lock.Conns]
	var acks lock.Mutex[lock.Acks]
	var unknown lock.Mutex[int]
	for _, c := range []struct {
		name, want string
		do         func()
	}{
		{"in order", "", func() {
			shard.Lock()
			conn.Lock()
			acks.Lock()
			acks.Unlock() //nolint:staticcheck,gocritic // nothing is done while it is held
			conn.Unlock()
			shard.Unlock()
		}},
		{"given back in any order", "", func() {
			shard.Lock()
			conn.Lock()
			shard.Unlock()
			acks.Lock()
			conn.Unlock()
			acks.Unlock()
		}},
		{"against it", "takes lock.Shard while lock.Conn", func() { conn.Lock(); defer conn.Unlock(); shard.Lock() }},
		{"two of a row", "takes lock.Acks while lock.Conns", func() { conns.Lock(); defer conns.Unlock(); acks.Lock() }},
		{"two of a kind", "takes lock.Shard while lock.Shard", func() { shard.Lock(); defer shard.Unlock(); other.Lock() }},
		{"what is none", "int is not in the order", func() { unknown.Lock() }},
		{"asking Redis", "asks while lock.Conn", func() { conn.Lock(); defer conn.Unlock(); lock.None("asks") }},
		{"asking with none", "", func() { conn.Lock(); conn.Unlock(); lock.None("asks") }}, //nolint:staticcheck,gocritic // nothing is done while it is held
	} {
		t.Run(c.name, func(t *testing.T) {
			defer func() {
				got := fmt.Sprint(recover())
				if c.want == "" && got != "<nil>" || !strings.Contains(got, c.want) {
					t.Errorf("it panics with %q, want %q", got, c.want)
				}
			}()
			c.do()
		})
	}
	lock.None("looks")
}
