package binaries_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

const (
	jwtSecret   = "a-secret-of-the-suite-0123456789abcdef"
	jwtAudience = "suite"
	jwtIssuer   = "https://issuer.test"
)

// startJWTGateway adds a gateway that wants signed tokens to the shared cluster.
func startJWTGateway(t *testing.T, env ...string) (*cluster, *server) {
	t.Helper()
	c := sharedCluster(t)
	return c, c.startGateway(t, append([]string{"SLUICE_AUTH=jwt", "SLUICE_JWT_SECRET=" + jwtSecret,
		"SLUICE_JWT_AUDIENCE=" + jwtAudience, "SLUICE_JWT_ISSUER=" + jwtIssuer}, env...)...)
}

// claims are those of a good token for an hour; the value nil in change removes one.
func claims(user string, change msg) msg {
	all := msg{"sub": user, "exp": time.Now().Add(time.Hour).Unix(), "aud": jwtAudience, "iss": jwtIssuer}
	for k, v := range change {
		if v == nil {
			delete(all, k)
		} else {
			all[k] = v
		}
	}
	return all
}

// TestFourWaysToGiveAToken, and that the offered subprotocol `sluice.v1.json` is echoed but never the token.
func TestFourWaysToGiveAToken(t *testing.T) {
	t.Parallel()
	c, g := startJWTGateway(t)
	for name, options := range map[string]func(token string) []option{
		"header":      func(token string) []option { return []option{withBearer(token)} },
		"subprotocol": func(token string) []option { return []option{withProtocolToken(token)} },
		"query":       func(token string) []option { return []option{withQuery("token", token)} },
		"connect":     nil,
		// The first of the four counts.
		"header before query": func(token string) []option { return []option{withBearer(token), withQuery("token", "rubbish")} },
	} {
		t.Run(name, func(t *testing.T) {
			user := unique("ways")
			token := jwtHS256(t, jwtSecret, claims(user, nil))
			var s *client
			if options != nil {
				s = dial(t, g, options(token)...)
			} else {
				s = dial(t, g)
				s.send(msg{"type": "connect", "token": token})
			}
			s.settle()
			want := ""
			if name == "subprotocol" {
				want = "sluice.v1.json"
			}
			if got := s.ws.Subprotocol(); got != want {
				t.Errorf("the server chose the subprotocol %q, want %q", got, want)
			}
			if s.welcome.User != user {
				t.Errorf("not welcome as %s: %s", user, s.welcome)
			}
			c.send(t, "user:"+user, number(0))
			s.waitEvents("user:"+user, 1)
			if options != nil {
				// Connected at once: a connect frame is then a mistake, and the connection goes on.
				s.mustError(s.ask(msg{"type": "connect", "token": token}), "bad_request")
				s.sync()
			}
		})
	}
}

// TestRefusedTokens: refusals come after the upgrade, as close codes, in the handshake and in `connect`.
func TestRefusedTokens(t *testing.T) {
	t.Parallel()
	_, g := startJWTGateway(t)
	signed := func(change msg) string { return jwtHS256(t, jwtSecret, claims("mallory", change)) }
	cases := []struct {
		name, token string
		code        int
	}{
		{"no token at all in it", "", 4501},
		{"rubbish", "rubbish", 4501},
		{"dev token", "dev:mallory", 4501},
		{"signed with another secret", jwtHS256(t, "another-secret-0123456789abcdef-0123", claims("mallory", nil)), 4501},
		{"unsigned", jwtUnsigned(t, claims("mallory", nil)), 4501},
		{"other audience", signed(msg{"aud": "others"}), 4501},
		{"no audience", signed(msg{"aud": nil}), 4501},
		{"other issuer", signed(msg{"iss": "https://other.test"}), 4501},
		{"no user", signed(msg{"sub": nil}), 4501},
		{"a user that is no name", signed(msg{"sub": "with a space"}), 4501},
		{"not yet valid", signed(msg{"nbf": time.Now().Add(time.Hour).Unix()}), 4501},
		// Not 4501, with which clients stop: they are to come back, or to get a fresh one.
		{"soon valid", signed(msg{"nbf": time.Now().Add(time.Minute).Unix()}), 1013},
		{"expired", signed(msg{"exp": time.Now().Add(-time.Minute).Unix()}), 4401},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := dial(t, g)
			s.send(msg{"type": "connect", "token": tc.token})
			s.mustClose(tc.code)
			if tc.token == "" {
				return
			}
			for _, o := range []option{withBearer(tc.token), withQuery("token", tc.token), withProtocolToken(tc.token)} {
				s := dial(t, g, o)
				s.mustClose(tc.code)
				for _, f := range s.frames {
					if f.Type == "welcome" {
						t.Errorf("welcome with a refused token: %s", f)
					}
				}
			}
		})
	}
}

// TestDevTokens: dev mode takes only dev:<user>.
func TestDevTokens(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for _, token := range []string{"dev:", "dev:with a space", "alice", jwtHS256(t, jwtSecret, claims("alice", nil))} {
		dial(t, c.gateways[0], withQuery("token", token)).mustClose(4501)
	}
}

// TestConnectComesFirst: without a token in the handshake anything but `connect` is the end, and so are 5 s of silence.
func TestConnectComesFirst(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	start := time.Now()
	silent := dial(t, c.gateways[0])
	for _, text := range []string{`{"type":"ping"}`, `{"type":"subscribe","ref":"1","to":"topic:x"}`, `{"type":"auth","token":"dev:x"}`} {
		s := dial(t, c.gateways[0], withQuery("topics", "x"))
		s.sendText(text)
		s.mustClose(4501)
	}
	silent.mustClose(4501)
	if d := time.Since(start); d < 4500*time.Millisecond || d > 10*time.Second {
		t.Errorf("a silent connection was closed after %v, want 5s", d)
	}
}

// TestClaims: what a token allows to subscribe and to publish.
func TestClaims(t *testing.T) {
	t.Parallel()
	c, g := startJWTGateway(t)
	room := unique("claimed")
	bearer := func(user string, change msg) option {
		return withBearer(jwtHS256(t, jwtSecret, claims(user, change)))
	}
	limited := func(user string) option {
		return bearer(user, msg{"sluice": msg{"subscribe": []string{"topic:" + room + "-*", "topic:*/odd"}, "publish": []string{"topic:" + room + "-1"}}})
	}

	t.Run("with the claim", func(t *testing.T) {
		s := dial(t, g, limited(unique("limited"))).settle()
		s.subscribe("topic:"+room+"-1", "")
		s.subscribe("topic:a/b/odd", "")
		for _, target := range []string{"topic:" + room, "topic:other", "topic:x" + room + "-1", "topic:x/topic:" + room + "-1", "topic:a/odd/b"} {
			s.mustError(s.ask(msg{"type": "subscribe", "to": target}), "forbidden")
		}
		s.must(s.ask(msg{"type": "publish", "to": "topic:" + room + "-1", "data": 1}), "published")
		for _, target := range []string{"topic:" + room + "-2", "all", "user:" + s.welcome.User} {
			s.mustError(s.ask(msg{"type": "publish", "to": target, "data": 1}), "forbidden")
		}
		s.sync()
	})
	t.Run("without the claim", func(t *testing.T) {
		user := unique("plain")
		s := dial(t, g, bearer(user, nil)).settle()
		s.mustError(s.ask(msg{"type": "subscribe", "to": "topic:" + room + "-1"}), "forbidden")
		for _, target := range []string{"topic:" + room + "-1", "user:" + user, "all"} {
			s.mustError(s.ask(msg{"type": "publish", "to": target, "data": 1}), "forbidden")
		}
		for _, target := range []string{"user:" + user, "all"} {
			mark := `"` + unique("mark") + `"`
			c.send(t, target, mark)
			s.waitData(target, mark)
		}
	})
	t.Run("everything, but not another user's target", func(t *testing.T) {
		s := dial(t, g, bearer(unique("root"), msg{"sluice": msg{"subscribe": []string{"*"}, "publish": []string{"*"}}})).settle()
		s.subscribe("topic:"+room, "")
		other := "user:" + unique("other")
		s.mustError(s.ask(msg{"type": "subscribe", "to": other}), "forbidden")
		s.must(s.ask(msg{"type": "publish", "to": other, "data": 1}), "published")
		dev := join(t, c.gateways[0], unique("dev"))
		dev.mustError(dev.ask(msg{"type": "subscribe", "to": other}), "forbidden")
	})
	t.Run("in the query and in a cursor", func(t *testing.T) {
		position := cursor(map[string]string{"topic:" + room + "-1": "0", "topic:beyond": "0"})
		s := dial(t, g, limited(unique("limited")), withQuery("topics", room+"-2,also-beyond"), withQuery("last_event_id", position)).settle()
		s.waitSubscribed("topic:" + room + "-1")
		s.waitSubscribed("topic:" + room + "-2")
		s.waitErrors("forbidden", 2)
		for _, f := range s.sync() {
			if f.Type == "subscribed" && (f.To == "topic:beyond" || f.To == "topic:also-beyond") {
				t.Errorf("subscribed against the claims: %s", f)
			}
		}
	})
}

// TestExpiry: the end of exp closes with 4401, unless `auth` brought a token that lives longer.
func TestExpiry(t *testing.T) {
	t.Parallel()
	_, g := startJWTGateway(t)
	exp := time.Now().Add(3 * time.Second)
	short := func(user string) string {
		return jwtHS256(t, jwtSecret, claims(user, msg{"exp": exp.Unix()}))
	}
	renewed := dial(t, g, withBearer(short("renewed"))).settle()
	refused := dial(t, g, withBearer(short("refused"))).settle()
	idle := dial(t, g, withBearer(short("idle"))).settle()

	later := time.Now().Add(time.Hour).Unix()
	answer := renewed.wait("authorized", func() func(frame) bool {
		renewed.send(msg{"type": "auth", "token": jwtHS256(t, jwtSecret, claims("renewed", msg{"exp": later}))})
		return func(f frame) bool { return f.Type == "authorized" }
	}())
	var got int64
	if err := json.Unmarshal(answer.Exp, &got); err != nil || got != later {
		t.Errorf("authorized does not say the new exp %d: %s", later, answer)
	}

	for i, token := range []string{
		jwtHS256(t, jwtSecret, claims("somebody-else", nil)),
		jwtHS256(t, "another-secret-0123456789abcdef-0123", claims("refused", nil)),
	} {
		refused.send(msg{"type": "auth", "token": token})
		refused.waitErrors("unauthorized", i+1)
	}
	refused.sync() // it goes on under the old token; the third in a row would be the end (TestBadTokensInARow)

	for _, s := range []*client{refused, idle} {
		s.mustClose(4401)
		if d := time.Since(exp); d < -time.Second || d > 10*time.Second {
			t.Errorf("%s was closed %v after exp", s, d)
		}
	}
	renewed.sync()
}

// TestOrigin: browsers are let in from the same origin, or from the list of SLUICE_ALLOWED_ORIGINS.
func TestOrigin(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	g := c.gateways[0]
	listed := c.startGateway(t, "SLUICE_ALLOWED_ORIGINS=https://app.example,https://admin.example:8443")
	cases := []struct {
		name    string
		g       *server
		origin  string
		allowed bool
	}{
		{"same origin", g, "http://" + g.addr, true},
		{"other host", g, "http://evil.example", false},
		{"other port", g, "http://127.0.0.1:1", false},
		{"opaque", g, "null", false},
		{"listed", listed, "https://app.example", true},
		{"listed with a port", listed, "https://admin.example:8443", true},
		{"not listed", listed, "https://evil.example", false},
		{"listed host, other port", listed, "https://app.example:444", false},
		{"listed host, other scheme", listed, "http://app.example", false},
		{"listed as the end of a name", listed, "https://evil-app.example", false},
		{"listed as the start of a name", listed, "https://app.example.evil.example", false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s, err := tryDial(t, tc.g.addr, withBearer("dev:browser"), withHeader("Origin", tc.origin))
			if tc.allowed {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				s.settle()
				return
			}
			if err == nil && s.waitClose() == websocket.CloseAbnormalClosure {
				t.Error("refused without a status and without a close code")
			}
			if err == nil && len(s.frames) > 0 && s.frames[0].Type == "welcome" {
				t.Errorf("let in: %s", s.frames[0])
			}
		})
	}
	join(t, listed, unique("program")) // a client that is no browser sends no Origin
}

// TestBadTokensInARow: the third frame auth in a row that is refused closes, whatever other frames come between.
func TestBadTokensInARow(t *testing.T) {
	t.Parallel()
	_, g := startJWTGateway(t)
	s := dial(t, g, withBearer(jwtHS256(t, jwtSecret, claims("anna", nil)))).settle()
	auth := func(token string) { s.send(msg{"type": "auth", "token": token}) }
	auth("rubbish")
	auth(jwtHS256(t, jwtSecret, claims("bert", nil)))
	s.waitErrors("unauthorized", 2)
	auth(jwtHS256(t, jwtSecret, claims("anna", nil)))
	s.waitType("authorized")
	for range 3 {
		s.sync()
		auth("rubbish")
	}
	s.waitErrors("unauthorized", 5)
	s.mustClose(4501)
}
