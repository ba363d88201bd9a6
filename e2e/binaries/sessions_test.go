package binaries_test

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// session reads one field of a target's session Hash: the server's id and when the field expires. It returns false when
// there is no such field.
func (c *cluster) session(t testing.TB, target, field string) (serverID string, expires time.Time, found bool) {
	t.Helper()
	all, err := c.HGetAll(ctx, c.sessions(target)).Result()
	if err != nil {
		t.Fatal(err)
	}
	value, found := all[field]
	if !found {
		return "", time.Time{}, false
	}
	serverID, stamp, _ := strings.Cut(value, " ")
	ms, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		t.Fatalf("%s of %s is %q, not `<serverID> <expires-unix-ms>`", field, c.sessions(target), value)
	}
	return serverID, time.UnixMilli(ms), true
}

func (c *cluster) now(t testing.TB) time.Time {
	t.Helper()
	now, err := c.Time(ctx).Result()
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// requireSession checks a field against the default of 60 s.
func (c *cluster) requireSession(t *testing.T, target, field, serverID string) {
	t.Helper()
	id, expires, found := c.session(t, target, field)
	if !found {
		t.Fatalf("%s has no field %s", c.sessions(target), field)
	}
	left := expires.Sub(c.now(t))
	if id != serverID || left <= 20*time.Second || left > 61*time.Second {
		t.Errorf("%s of %s: server %s, expires in %v; want %s, 60s", field, c.sessions(target), id, left, serverID)
	}
	if ttl := c.PTTL(ctx, c.sessions(target)).Val(); ttl <= 0 || ttl > 121*time.Second {
		t.Errorf("%s expires in %v, the field in %v", c.sessions(target), ttl, left)
	}
}

// gone is for eventually: whether a field was removed.
func (c *cluster) gone(t testing.TB, target, field string) error {
	if _, _, found := c.session(t, target, field); found {
		return fmt.Errorf("%s still has the field %s", c.sessions(target), field)
	}
	return nil
}

// TestSessionIsWrittenFirst looks at the Hash at the moment in which `welcome` is here, many times.
func TestSessionIsWrittenFirst(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for i := range 20 {
		g := c.gateways[i%2]
		user := unique("session")
		s := dial(t, g, withBearer("dev:"+user))
		s.welcome = s.waitType("welcome")
		c.requireSession(t, "user:"+user, s.welcome.Conn, g.id)
		c.requireSession(t, "all", g.id, g.id)
	}
}

func TestSessionsOfThreeDevicesAndTopics(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	user, topic := unique("devices"), "topic:"+unique("devices")
	target := "user:" + user
	at := []*server{c.gateways[0], c.gateways[0], c.gateways[1]}
	var devices []*client
	for _, g := range at {
		s := join(t, g, user)
		s.subscribe(topic, "")
		c.requireSession(t, topic, g.id, g.id)
		devices = append(devices, s)
	}
	for i, s := range devices {
		c.requireSession(t, target, s.welcome.Conn, at[i].id)
	}
	if n := c.HLen(ctx, c.sessions(target)).Val(); n != 3 {
		t.Errorf("%d sessions of three devices", n)
	}
	if n := c.HLen(ctx, c.sessions(topic)).Val(); n != 2 {
		t.Errorf("%d sessions of a topic on two gateways", n)
	}

	devices[0].leave()
	eventually(t, func() error { return c.gone(t, target, devices[0].welcome.Conn) })
	c.requireSession(t, target, devices[1].welcome.Conn, at[1].id)
	c.requireSession(t, topic, at[1].id, at[1].id) // still one subscriber there
	devices[1].leave()
	devices[2].leave()
	eventually(t, func() error {
		if n := c.Exists(ctx, c.sessions(target)).Val(); n != 0 {
			return fmt.Errorf("%s still exists", c.sessions(target))
		}
		return nil
	})
	for _, g := range c.gateways {
		eventually(t, func() error { return c.gone(t, topic, g.id) })
	}
}

// TestSessionIsRemovedAfterACut cuts the TCP connection.
func TestSessionIsRemovedAfterACut(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	s := join(t, c.gateways[0], unique("cut"))
	if err := s.ws.NetConn().Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return c.gone(t, "user:"+s.welcome.User, s.welcome.Conn) })
}

// TestHeartbeat has a ping each second: the pong renews the session, a client without pongs is closed with 4002.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	g := c.startGateway(t, "SLUICE_PING_INTERVAL=1s", "SLUICE_SESSION_TTL=4s")
	answers, mute := join(t, g, unique("answers")), join(t, g, unique("mute"), withoutPongs())
	topic := "topic:" + unique("beating")
	answers.subscribe(topic, "")
	if answers.welcome.PingMS != 1000 {
		t.Errorf("ping_ms is not that of SLUICE_PING_INTERVAL=1s: %s", answers.welcome)
	}
	target := "user:" + answers.welcome.User
	_, first, found := c.session(t, target, answers.welcome.Conn)
	if left := first.Sub(c.now(t)); !found || left > 4100*time.Millisecond {
		t.Errorf("the session expires in %v at SLUICE_SESSION_TTL=4s", left)
	}

	mute.mustClose(4002)
	if mute.pinged() == 0 {
		t.Error("closed without a ping")
	}
	eventually(t, func() error { return c.gone(t, "user:"+mute.welcome.User, mute.welcome.Conn) })

	// Longer than the first stamp: without renewal every field would be gone or stale.
	for _, field := range []struct{ target, name string }{{target, answers.welcome.Conn}, {topic, g.id}, {"all", g.id}} {
		eventually(t, func() error {
			_, expires, found := c.session(t, field.target, field.name)
			if now := c.now(t); !found || !expires.After(now) {
				t.Fatalf("%s of %s lapsed while its client answers pings (found %v, expires %v, now %v)", field.name, field.target, found, expires, now)
			}
			if left := time.Until(first.Add(time.Second)); left > 0 || expires.Sub(first) < time.Second {
				return fmt.Errorf("%s of %s was not renewed: expires %v, at first %v", field.name, field.target, expires, first)
			}
			return nil
		})
	}
	answers.sync()
}

// TestGatewayKilled: sessions expire by themselves, other connections of the user go on, and the client comes back.
func TestGatewayKilled(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	g := c.startGateway(t, "SLUICE_PING_INTERVAL=1s", "SLUICE_SESSION_TTL=3s")
	lonely, twice := unique("lonely"), unique("twice")
	first, other := join(t, g, lonely), join(t, g, twice)
	survivor := join(t, c.gateways[0], twice)
	topic := "topic:" + unique("killed")
	first.subscribe(topic, "")
	own := "user:" + lonely
	c.send(t, own, number(0))
	requireNumbers(t, own, first.waitEvents(own, 1), 0, 1)

	g.Signal(t, syscall.SIGKILL)
	g.ExitCode(t, patience)
	first.mustClose(1006)
	if _, _, found := c.session(t, own, first.welcome.Conn); !found {
		t.Error("the session is gone already: this test shows nothing")
	}
	c.send(t, own, number(1)) // to nobody

	second := connect(t, c.gateways[1], lonely, msg{"resume": msg{own: first.last(own)}})
	requireNumbers(t, own, second.waitEvents(own, 1), 1, 2)

	// A field of the dead is stale by its stamp, and removed when somebody reads it, or goes with its key.
	for _, field := range []struct{ target, name string }{
		{own, first.welcome.Conn}, {"user:" + twice, other.welcome.Conn}, {topic, g.id}, {"all", g.id},
	} {
		eventually(t, func() error {
			_, expires, found := c.session(t, field.target, field.name)
			if now := c.now(t); found && expires.After(now) {
				return fmt.Errorf("%s of %s expires at %v, now is %v", field.name, field.target, expires, now)
			}
			return nil
		})
	}
	eventually(t, func() error {
		if n := c.Exists(ctx, c.sessions(topic)).Val(); n != 0 {
			return fmt.Errorf("%s, of the dead gateway only, still exists", c.sessions(topic))
		}
		return nil
	})
	for n := range 3 {
		c.send(t, "user:"+twice, number(n))
	}
	requireNumbers(t, "the survivor", survivor.waitEvents("user:"+twice, 3), 0, 3)
	eventually(t, func() error { return c.gone(t, "user:"+twice, other.welcome.Conn) })
}
