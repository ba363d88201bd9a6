package binaries_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// listed is what GET /v1/users/{id} answers.
type listed struct {
	User        string
	Online      bool
	Connections []struct {
		Conn, Device, Gateway, Transport string
		Since                            time.Time
	}
}

func (s *server) user(t testing.TB, token, user string) listed {
	t.Helper()
	got := s.request(t, "GET", "/v1/users/"+url.PathEscape(user), "", bearerHeader(token)...)
	var list listed
	if err := json.Unmarshal([]byte(got.body), &list); err != nil || got.status != 200 || list.User != user || list.Connections == nil {
		t.Fatalf("asked for user %s, got %d %s (%v)", user, got.status, got.body, err)
	}
	return list
}

// TestUsers lists the connections of a user on all gateways and ends them, with a claim or one's own.
func TestUsers(t *testing.T) {
	t.Parallel()
	c, g := startJWTGateway(t)
	user, backend := unique("listed/"), unique("backend")
	own := jwtHS256(t, jwtSecret, claims(user, nil))
	manager := jwtHS256(t, jwtSecret, claims(backend, msg{"sluice": msg{"manage": []string{"user:listed/*"}}}))
	stranger := jwtHS256(t, jwtSecret, claims(backend, msg{"sluice": msg{"subscribe": []string{"*"}, "publish": []string{"*"}, "manage": []string{"user:x"}}}))
	path := "/v1/users/" + url.PathEscape(user)

	if list := g.user(t, manager, user); list.Online || len(list.Connections) != 0 {
		t.Errorf("online before it connected: %+v", list)
	}
	began := time.Now().Add(-2 * time.Second)
	phone := dial(t, g, withBearer(own), withQuery("device", "phone-1")).settle()
	plain := join(t, c.gateways[1], user)
	list := g.user(t, own, user)
	if !list.Online || len(list.Connections) != 2 {
		t.Fatalf("two connections, listed are %+v", list)
	}
	for _, s := range []*client{phone, plain} {
		i := slices.IndexFunc(list.Connections, func(one struct {
			Conn, Device, Gateway, Transport string
			Since                            time.Time
		}) bool {
			return one.Conn == s.welcome.Conn
		})
		if i < 0 {
			t.Fatalf("%s is not listed: %+v", s, list)
		}
		got, device := list.Connections[i], ""
		if s == phone {
			device = "phone-1"
		}
		if got.Device != device || got.Gateway != s.welcome.Server || got.Transport != "ws" || got.Since.Before(began) || got.Since.After(time.Now().Add(2*time.Second)) {
			t.Errorf("%s is listed as %+v", s, got)
		}
	}

	for _, method := range []string{"GET", "DELETE"} {
		at := path
		if method == "DELETE" {
			at += "/connections"
		}
		g.request(t, method, at, "").mustRefuse(t, 401, "unauthorized")
		g.request(t, method, at, "", bearerHeader(stranger)...).mustRefuse(t, 403, "forbidden")
	}
	for _, query := range []string{"device=a%20b", "reason=" + strings.Repeat("x", 124), "for=soon", "for=-1s", "for=9000h", "for=1500ms"} {
		g.request(t, "DELETE", path+"/connections?"+query, "", bearerHeader(manager)...).mustRefuse(t, 400, "bad_request")
	}
	g.request(t, "DELETE", path+"/connections?for=1h", "", bearerHeader(own)...).mustRefuse(t, 403, "forbidden") // a stolen token locks nobody out
	phone.sync()

	end := func(query, token string) {
		t.Helper()
		if got := g.request(t, "DELETE", path+"/connections?"+query, "", bearerHeader(token)...); got.status != 200 {
			t.Fatalf("DELETE ?%s: %d %s", query, got.status, got.body)
		}
	}
	end("device=phone-1&conn="+plain.welcome.Conn, own) // both must match
	end("device=phone-1&reason=lost", own)
	phone.mustClose(4503)
	if !strings.Contains(phone.err.Error(), "lost") {
		t.Errorf("the reason is not told: %v", phone.err)
	}
	plain.sync()
	end("for=1h", manager)
	plain.mustClose(4503)
	for _, gw := range []*server{g, c.gateways[0]} {
		o := withBearer(own)
		if gw != g {
			o = withBearer("dev:" + user)
		}
		dial(t, gw, o).mustClose(4503)
	}
	eventually(t, func() error {
		if list := g.user(t, manager, user); list.Online {
			return fmt.Errorf("still online: %+v", list)
		}
		return nil
	})
}

// TestClientsPublishNoControl: what clients publish is an event, whatever fields it has.
func TestClientsPublishNoControl(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	victim, mallory := join(t, c.gateways[0], unique("victim")), join(t, c.gateways[1], unique("mallory"))
	to := "user:" + victim.welcome.User
	mallory.must(mallory.ask(msg{"type": "publish", "to": to, "data": msg{"control": "kick"}, "control": "kick", "conn": victim.welcome.Conn, "for": "60"}), "published")
	victim.waitData(to, `{"control":"kick"}`)
	victim.sync()
	mallory.mustError(mallory.ask(msg{"type": "publish", "to": to, "control": "kick"}), "bad_request")
	join(t, c.gateways[0], victim.welcome.User)
}
