package socket

import (
	"io"
	"runtime"
	"testing"
)

// TestSendAllocatesNothing: a frame that many sockets get costs no memory per socket.
func TestSendAllocatesNothing(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		s := serve(t, o, nil)
		if s.group.poller == nil {
			t.Skip("goroutines come and go with each write")
		}
		peers := make([]*peer, 20)
		for i := range peers {
			c, p := s.connect(0)
			peers[i] = p
			go func() { _, _ = io.Copy(io.Discard, c.nc) }()
		}
		f := serverText(make([]byte, 256))
		deliver := func() {
			for _, p := range peers {
				for range 3 {
					if !p.Send(f) {
						t.Error("refused")
					}
				}
			}
			for _, p := range peers {
				for p.writes() {
					runtime.Gosched()
				}
			}
		}
		deliver()
		if n := testing.AllocsPerRun(100, deliver); n >= 1 {
			t.Errorf("%v allocations for %d frames", n, 3*len(peers))
		}
	})
}
