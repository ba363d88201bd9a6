package hostile_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// flood opens a few sockets of a few users, and again those that are closed, and does something with each of them as
// fast as it is taken.
func (a *attacker) flood(query string, do func(p *peer, n int) bool) {
	a.again(16, func(i int) {
		p := a.member(i, query, a.user(i%4))
		if p == nil {
			return
		}
		for n := 0; do(p, n); n++ {
		}
		_ = p.Close()
	})
}

// halfFramesOfMembers are more than there may be, of many users.
func halfFramesOfMembers(a *attacker) {
	half := wsFrame(0x81, `{"type":"publish","to":"topic:x","data":"`+strings.Repeat("a", 60_000))
	a.crowd(600, func(i int) {
		if p := a.member(i, "", a.user(i%10)); p != nil {
			a.write(p, half[:len(half)-1000])
			a.hold(p)
		}
	})
}

// pings of WebSocket, pongs that nobody asked for, and frames `ping`.
func pings(a *attacker) {
	kinds := []string{string(wsFrame(0x89, "ping")), string(wsFrame(0x8a, "pong")), string(wsFrame(0x81, `{"type":"ping"}`))}
	a.flood("", func(p *peer, n int) bool { return a.write(p, []byte(strings.Repeat(kinds[n%3], 50))) })
}

// fragments are empty, or of one byte, and a message of them does not end.
func fragments(a *attacker) {
	empty, one := string(wsFrame(0x00, "")), string(wsFrame(0x00, " "))
	a.flood("", func(p *peer, n int) bool {
		if n == 0 {
			return a.write(p, wsFrame(0x01, "{"))
		}
		return a.write(p, []byte(strings.Repeat(empty, 50)+strings.Repeat(one, 50)))
	})
}

// auths are frames with good tokens, of which each costs a check.
func auths(a *attacker) {
	var tokens []string
	for i := range 4 {
		tokens = append(tokens, string(wsFrame(0x81, `{"type":"auth","token":"`+tokenOf(a.user(i))+`"}`)))
	}
	a.flood("", func(p *peer, n int) bool { return a.write(p, []byte(tokens[n%4])) })
}

// acks are of what was never sent, and of positions that are allowed.
func acks(a *attacker) {
	both := string(wsFrame(0x81, `{"type":"ack","to":"all","id":"0"}`)) + string(wsFrame(0x81, `{"type":"ack","to":"topic:x","id":"9999999999999-0"}`))
	a.flood("topics=x&device=phone", func(p *peer, _ int) bool { return a.write(p, []byte(strings.Repeat(both, 25))) })
}

// publishes are of 60 KB, to ten topics.
func publishes(a *attacker) {
	pad := strings.Repeat("x", 60_000)
	a.flood("", func(p *peer, n int) bool {
		return p.say(fmt.Sprintf(`{"type":"publish","ref":"%d","to":"topic:flood-%d","data":"%s"}`, n, n%10, pad))
	})
}

// nestedPublishes are JSON that is deep, or holds half surrogates.
func nestedPublishes(a *attacker) {
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	a.flood("", func(p *peer, n int) bool {
		if n%2 == 0 {
			return p.say(`{"type":"publish","ref":"a","to":"topic:x","data":` + deep + `}`)
		}
		return p.say(`{"type":"publish","ref":"b","to":"topic:x","data":"` + strings.Repeat(`\ud800`, 5000) + `"}`)
	})
}

// subscribes are to what is subscribed already, from the begin of a large history.
func subscribes(a *attacker) {
	again := string(wsFrame(0x81, `{"type":"subscribe","ref":"a","to":"topic:`+largeTopic(0)+`","after":"earliest"}`))
	a.flood("topics="+largeTopic(0), func(p *peer, _ int) bool { return a.write(p, []byte(strings.Repeat(again, 10))) })
}

// resumes are of large histories, each from a place of its own.
func resumes(a *attacker) {
	a.again(200, func(i int) {
		user := a.user(i % 20)
		if p := a.socket(i, "", ""); p != nil {
			p.say(fmt.Sprintf(`{"type":"connect","token":"%s","on_gap":"retained","resume":{"topic:%s":"%d-%d","topic:%s":"0"}}`,
				tokenOf(user), largeTopic(i), 1000+i, i, largeTopic(i+1)))
			a.readFor(p, 300*time.Millisecond)
		}
	})
}

// readFor reads for a while and hangs up.
func (a *attacker) readFor(p *peer, d time.Duration) {
	_ = p.SetReadDeadline(time.Now().Add(d))
	_, _ = io.Copy(io.Discard, p.in)
	_ = p.Close()
}

// connects are frames with 45 positions, or with hundreds, of targets that nobody else has.
func connects(a *attacker) {
	a.again(100, func(i int) {
		p := a.socket(i, "", "")
		if p == nil {
			return
		}
		var b strings.Builder
		for n := range []int{45, 900}[i%2] {
			fmt.Fprintf(&b, `"topic:%d-%d":"0",`, i, n)
		}
		p.say(`{"type":"connect","token":"` + tokenOf(a.user(i%20)) + `","resume":{` + b.String() + `"all":"0"}}`)
		a.readFor(p, 200*time.Millisecond)
	})
}

// connectionsOfOneUser are more than a user may have.
func connectionsOfOneUser(a *attacker) {
	a.again(100, func(i int) {
		for range 30 {
			if p := a.member(i, "", a.user(0)); p != nil {
				a.hold(p)
			}
		}
	})
}

// unreadSockets ask for large histories and for answers, and read nothing.
func unreadSockets(a *attacker) {
	ask := []byte(strings.Repeat(string(wsFrame(0x81, `{"type":"ping"}`)), 20))
	a.crowd(1000, func(i int) {
		token := tokenOf(a.user(i % 20))
		if p := a.socket(i, "last_event_id=topic:"+largeTopic(i)+"%3D1000-0&on_gap=retained", token); p != nil {
			a.hold(p)
			for a.write(p, ask) {
				time.Sleep(100 * time.Millisecond)
			}
		}
	})
}

// unreadStreams are event streams of large histories that read nothing.
func unreadStreams(a *attacker) {
	a.crowd(1000, func(i int) {
		if nc := a.dial(i); nc != nil {
			path := "/v1/sse?on_gap=retained&last_event_id=topic:" + largeTopic(i) + "%3D1000-0"
			a.write(nc, []byte(a.request("GET", path, bearer(tokenOf(a.user(i%20))))+"\r\n"))
			a.hold(nc)
		}
	})
}

// requests are for tickets and lists, by HTTP, as fast as they are answered.
func requests(a *attacker) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	a.again(16, func(i int) {
		user := a.user(i % 4)
		for method, path := range map[string]string{"POST": "/v1/tickets", "GET": "/v1/users/" + user, "DELETE": "/v1/users/" + user + "/connections"} {
			r, err := http.NewRequest(method, "http://"+a.addr+path, nil)
			if err != nil {
				return
			}
			r.Header.Set("Authorization", "Bearer "+tokenOf(user))
			resp, err := client.Do(r)
			if err != nil {
				continue
			}
			a.sent.Add(1)
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
}
