package torture

import (
	"net"
	"sync"
	"testing"
	"time"
)

// TestLink checks the proxy itself: what arrives is what was sent, in each weather.
func TestLink(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = echo.Close()
		wg.Wait()
	})
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer func() { _ = c.Close() }()
				buf := make([]byte, 4096)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if _, err := c.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	k := newLink(t, "echo")
	k.lead(echo.Addr().String())
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", k.addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	// says sends a text and reports whether it comes back within the time.
	says := func(c net.Conn, within time.Duration) bool {
		text := "hello, hello, hello, hello, hello, hello"
		_ = c.SetDeadline(time.Now().Add(within))
		if _, err := c.Write([]byte(text)); err != nil {
			return false
		}
		back := make([]byte, len(text))
		for n := 0; n < len(back); {
			m, err := c.Read(back[n:])
			if err != nil {
				return false
			}
			n += m
		}
		if string(back) != text {
			t.Errorf("sent %q, got %q", text, back)
		}
		return true
	}
	const soon, long = 300 * time.Millisecond, 5 * time.Second
	c := dial()
	if !says(c, long) {
		t.Error("nothing comes over a good link")
	}
	k.change(func(w *weather) { w.split = true })
	if !says(c, long) {
		t.Error("nothing comes in pieces")
	}
	k.clear()
	k.change(func(w *weather) { w.delay = 50 * time.Millisecond })
	if begin := time.Now(); !says(c, long) || time.Since(begin) < 100*time.Millisecond {
		t.Error("no delay in both directions")
	}
	k.clear()
	for _, d := range []direction{up, down} {
		c := dial()
		k.change(func(w *weather) { w.stalled[d] = true })
		if says(c, soon) {
			t.Error("something passes a stall")
		}
		k.clear()
		buf := make([]byte, 100)
		_ = c.SetDeadline(time.Now().Add(long))
		if n, err := c.Read(buf); err != nil || n == 0 {
			t.Errorf("what was stalled does not come later: %v", err)
		}
	}
	c = dial()
	says(c, long)
	k.silence(true, up)
	if says(c, soon) {
		t.Error("something comes from a dead end")
	}
	if !says(dial(), long) {
		t.Error("a new connection is silent too")
	}
	c = dial()
	says(c, long)
	k.hush(down)
	if says(c, soon) {
		t.Error("something comes back though replies are lost")
	}
	k.cut()
	_ = c.SetDeadline(time.Now().Add(long))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still there after the cut")
	}
	k.change(func(w *weather) { w.refuse = true })
	if c, err := net.Dial("tcp", k.addr()); err == nil {
		defer func() { _ = c.Close() }()
		if says(c, long) {
			t.Error("a link that refuses accepts")
		}
	}
}
