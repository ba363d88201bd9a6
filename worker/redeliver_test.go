package worker

import (
	"encoding/json"
	"testing"
	"time"

	"sluice/shared/wire"
)

// FuzzParseChain: a task lies in Redis, where anybody may write. What is taken names a
// server, a connection and a target, and means the same when it is written again.
func FuzzParseChain(f *testing.F) {
	for _, seed := range []string{
		`{"server":"g1","conn":"ABC","user":"alice","to":"topic:room","after":"5-0","since":1700000000000}`,
		`{"server":"g1","conn":"ABC","to":"topic:{1}","since":1}`,
		`{"server":"g 1","conn":"ABC","to":"all","since":1}`,
		`{"server":"g1","conn":"ABC","to":"all","since":-1}`,
		`{}`, `[]`, `null`, ``, "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := parseChain(payload)
		if err != nil {
			return
		}
		if !wire.ValidName(c.Server) || !wire.ValidName(c.Conn) || wire.CheckTarget(c.To) != nil || c.Since < 0 {
			t.Fatalf("%q was taken as %+v", payload, c)
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := parseChain(again); err != nil || d != c {
			t.Fatalf("%q reads %+v, and again %+v, %v", payload, c, d, err)
		}
	})
}

// TestBackoff: the first try comes within half a second, asynq's look at what is due
// included, and the longest pause is shorter than a gateway's patience.
func TestBackoff(t *testing.T) {
	const patience = 15 * time.Second // gateway/slow: lagRepeat
	for range 1000 {
		if d := backoff(0) + taskCheck; d > 500*time.Millisecond {
			t.Fatalf("the first try comes after %v", d)
		}
		for n := range 100 {
			if d := backoff(n); d <= 0 || d+2*taskCheck >= patience {
				t.Fatalf("the pause before try %d is %v", n, d)
			}
		}
	}
}
