package binaries_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"sluice/shared/testkit"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"
)

// The tests of this file are about the suite's own tools, which nothing else would catch being wrong.

func TestHelperCRC16(t *testing.T) {
	t.Parallel()
	// The check value of CRC-16/XMODEM, and the slot that Redis Cluster's documentation gives for foo.
	if got := crc16("123456789"); got != 0x31c3 {
		t.Errorf("crc16 of the check string is %#x, want 0x31c3", got)
	}
	if got := crc16("foo") % 16384; got != 12182 {
		t.Errorf("slot of foo is %d, want 12182", got)
	}
	var tags []string
	for p := range 16 {
		tags = append(tags, hashTag(p, 16))
	}
	if got := strings.Join(tags, " "); got != "10 3 61 43 11 2 60 42 12 1 63 41 13 0 62 40" {
		t.Errorf("the hash tags of 16 partitions are %s", got)
	}
}

func TestHelperNames(t *testing.T) {
	t.Parallel()
	if got := cursor(map[string]string{"user:a=b+c/d@e:f": "1700-0"}); got != "user:a%3Db%2Bc%2Fd%40e%3Af=1700-0" {
		t.Errorf("cursor %s", got)
	}
	if got := cursor(map[string]string{"all": "1-2"}); got != "all=1-2" {
		t.Errorf("cursor %s", got)
	}
	for _, bad := range []string{"", "0", "1-", "-1", "a-1", "1-2-3", "1.5-0"} {
		if _, err := parseID(bad); err == nil {
			t.Errorf("%q was taken for an id", bad)
		}
	}
	a, _ := parseID("9-10")
	b, _ := parseID("10-9")
	if !a.less(b) || b.less(a) || a.less(a) {
		t.Error("ids are not compared as numbers")
	}
}

func TestHelperToken(t *testing.T) {
	t.Parallel()
	parsed, err := jwt.Parse(jwtHS256(t, "secret", claims("anna", nil)), func(*jwt.Token) (any, error) { return []byte("secret"), nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithAudience(jwtAudience), jwt.WithIssuer(jwtIssuer), jwt.WithExpirationRequired())
	if err != nil {
		t.Fatal(err)
	}
	if user, _ := parsed.Claims.GetSubject(); user != "anna" {
		t.Errorf("the subject is %q", user)
	}
}

func TestHelperChain(t *testing.T) {
	t.Parallel()
	event := func(id, prev string) frame {
		return frame{Type: "event", To: "all", ID: id, Prev: prev, raw: []byte(`{"id":""}`)}
	}
	subscribed := frame{Type: "subscribed", To: "all"}
	for name, tc := range map[string]struct {
		frames []frame
		whole  bool
	}{
		"whole":             {[]frame{event("5-0", "0"), event("6-0", "5-0"), event("6-1", "6-0")}, true},
		"hole":              {[]frame{event("5-0", "0"), event("7-0", "6-0")}, false},
		"repeat":            {[]frame{event("5-0", "4-0"), event("5-0", "4-0")}, false},
		"wrong order":       {[]frame{event("6-0", "5-0"), event("5-0", "0")}, false},
		"prev after id":     {[]frame{event("5-0", "5-0")}, false},
		"no prev":           {[]frame{event("5-0", "")}, false},
		"again, subscribed": {[]frame{event("5-0", "0"), subscribed, event("5-0", "0")}, true},
	} {
		c := chain{}
		var err error
		for _, f := range tc.frames {
			if e := c.follow(f); e != nil {
				err = e
			}
		}
		if (err == nil) != tc.whole {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHelperRedis(t *testing.T) {
	t.Parallel()
	c := &cluster{redisServer: startRedis(t, t, "a-password"), prefix: "sluice:", partitions: 16}
	ids := c.addAll(t, numbered(c.intake(), "all", 0, 1200)...)
	c.redisServer.Signal(t, syscall.SIGTERM)
	c.redisServer.ExitCode(t, patience)
	c.redisServer.start(t)
	kept, err := c.XRange(ctx, c.intake(), "-", "+").Result()
	if err != nil || len(kept) != len(ids) || kept[1199].ID != ids[1199] || kept[7].Values["data"] != number(7) {
		t.Errorf("after a restart: %d of %d entries, %v", len(kept), len(ids), err)
	}
	p := c.pace(t, 1000, 100, func(i int) entry { return entry{c.ingress("all"), fields("all", number(i))} })
	if n := p.finish(t); n != 100 || c.XLen(ctx, c.ingress("all")).Val() != 100 {
		t.Errorf("the pacer says that it sent %d, the stream has %d", n, c.XLen(ctx, c.ingress("all")).Val())
	}
}

// TestHelperClient speaks with a toy server.
func TestHelperClient(t *testing.T) {
	t.Parallel()
	upgrader := websocket.Upgrader{Subprotocols: []string{"sluice.v1.json"}}
	toy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/ws" || r.Header.Get("Authorization") != "Bearer dev:anna" || r.URL.Query().Get("topics") != "a,b" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		say := func(text string) { _ = ws.WriteMessage(websocket.TextMessage, []byte(text)) }
		say(`{"type":"welcome","user":"anna","conn":"c1","server":"toy","ping_ms":25000}`)
		say(`{"type":"subscribed","to":"user:anna","position":"0"}`)
		say(`{"type":"subscribed","to":"all","position":"0"}`)
		say(`{"type":"event","to":"all","id":"5-0","prev":"0","data":{"n":0}}`)
		for {
			_, text, err := ws.ReadMessage()
			switch {
			case err != nil:
				return
			case strings.Contains(string(text), `"ping"`):
				say(`{"type":"pong"}`)
			case strings.Contains(string(text), `"ask"`):
				say(`{"type":"error","ref":"ref-1","code":"bad_request","message":"no"}`)
			default:
				_ = ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4500, "enough"))
			}
		}
	}))
	defer toy.Close()
	addr := strings.TrimPrefix(toy.URL, "http://")
	if _, err := tryDial(t, addr, withBearer("dev:anna")); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a refused handshake gives %v", err)
	}
	s := join(t, &server{Process: &testkit.Process{Name: "toy"}, addr: addr}, "anna", withQuery("topics", "a,b"))
	requireNumbers(t, "all", s.waitEvents("all", 1), 0, 1)
	requireNumbers(t, "all", s.syncEvents("all"), 0, 1)
	s.mustError(s.ask(msg{"type": "ask"}), "bad_request")
	s.send(msg{"type": "leave"})
	s.mustClose(4500)
	if s.pinged() != 0 || s.endAt.IsZero() {
		t.Errorf("%d pings, end %v", s.pinged(), s.endAt)
	}
}
