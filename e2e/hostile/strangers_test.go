package hostile_test

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// idleSockets connect and say nothing.
func idleSockets(a *attacker) {
	a.crowd(3000, func(i int) {
		if nc := a.dial(i); nc != nil {
			a.hold(nc)
		}
	})
}

// slowHeaders come byte by byte, within the time for a header.
func slowHeaders(a *attacker) {
	a.crowd(1500, func(i int) {
		if nc := a.dial(i); nc != nil && a.write(nc, []byte(a.request("GET", "/v1/ws")+"X-Slow: ")) {
			a.drip(nc, 100*time.Millisecond)
		}
	})
}

// unfinishedHeaders are 3,000 of 60 KB that do not end, as lines and as one line.
func unfinishedHeaders(a *attacker) {
	for {
		a.crowd(1000, func(i int) {
			if nc := a.dial(i); nc != nil {
				line := "X-" + strings.Repeat("a", 58) + ": b\r\n"
				if i%2 == 0 {
					line = strings.Repeat("a", 64)
				}
				a.hold(nc)
				for n := 0; n < 60<<10 && a.write(nc, []byte(strings.Repeat(line, 16))); n += 16 * len(line) {
				}
			}
		})
	}
}

// missingBodies are announced and never come, with and without a token.
func missingBodies(a *attacker) {
	token := bearer(tokenOf(a.user(0)))
	a.crowd(1100, func(i int) {
		if nc := a.dial(i); nc != nil {
			header := token
			if i%2 == 0 {
				header = "X-None: 1"
			}
			a.write(nc, []byte(a.request("POST", "/v1/tickets", header, "Content-Length: 60000")+"\r\n"))
			a.hold(nc)
		}
	})
}

// slowBodies come byte by byte, in pieces and with a length.
func slowBodies(a *attacker) {
	token := bearer(tokenOf(a.user(0)))
	a.crowd(1000, func(i int) {
		if nc := a.dial(i); nc != nil {
			if i%2 == 0 {
				a.write(nc, []byte(a.request("POST", "/v1/tickets", token, "Content-Length: 60000")+"\r\n"))
			} else {
				a.write(nc, []byte(a.request("DELETE", "/v1/users/x/connections", "Transfer-Encoding: chunked")+"\r\nffff\r\n"))
			}
			a.drip(nc, 100*time.Millisecond)
		}
	})
}

// unreadAnswers ask for the largest answer there is, again and again, and read nothing.
func unreadAnswers(a *attacker) {
	many := strings.Repeat(a.request("GET", "/sluice.js")+"\r\n", 50)
	a.crowd(500, func(i int) {
		if nc := a.dial(i); nc != nil {
			a.hold(nc)
			for a.write(nc, []byte(many)) {
			}
		}
	})
}

// queriesOfCommas ask for tens of thousands of topics without a token.
func queriesOfCommas(a *attacker) {
	a.crowd(60, func(i int) {
		for {
			if i%2 == 0 { // more than a header may have
				if p := a.socket(i, "topics="+strings.Repeat(",", 60_000), ""); p != nil {
					a.hold(p)
				}
			} else if p := a.socket(i, "topics="+strings.Repeat(",", 15_000), ""); p != nil {
				a.hold(p)
			}
		}
	})
}

// halfFrames are begun by sockets without a token.
func halfFrames(a *attacker) {
	half := wsFrame(0x81, `{"type":"connect","resume":{"`+strings.Repeat("a", 60_000))
	a.crowd(1000, func(i int) {
		if p := a.socket(i, "", ""); p != nil {
			a.write(p, half[:len(half)-1000])
			a.hold(p)
		}
	})
}

// largeConnects are frames `connect` of which every byte is one to be parsed, and the token is none.
func largeConnects(a *attacker) {
	var b strings.Builder
	b.WriteString(`{"type":"connect","token":"none","resume":{`)
	for n := 0; b.Len() < 68_000; n++ {
		fmt.Fprintf(&b, `"topic:%d":"1-%d",`, n, n)
	}
	frame := wsFrame(0x81, b.String()+`"all":"0"}}`)
	a.again(100, func(i int) {
		if p := a.socket(i, "", ""); p != nil {
			a.write(p, frame)
			p.drain()
		}
	})
}

// badTokens are long, and signed with another key.
func badTokens(a *attacker) {
	token := tokenOf(a.user(0))
	token = token[:len(token)-3] + "AAA"
	long := strings.Repeat("a", 8000) + "." + strings.Repeat("b", 7000) + "."
	a.again(50, func(i int) {
		use := token
		if i%2 == 0 {
			use = long
		}
		if p := a.socket(i, "", use); p != nil {
			p.drain()
		}
	})
}

// handshakes are made and thrown away.
func handshakes(a *attacker) {
	a.again(50, func(i int) {
		if p := a.socket(i, "topics=news", tokenOf(a.user(i))); p != nil {
			_, _ = io.ReadFull(p.in, make([]byte, 10))
			_ = p.Close()
		}
	})
}
