package binaries_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestRedisRestart: processes stay and say that they are not ready; when Redis is back with its data they mend everything.
func TestRedisRestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, t, 1, 1)
	s := join(t, c.gateways[0], "patient")
	own, topic := "user:patient", "topic:patience"
	s.subscribe(topic, "")
	for _, target := range []string{own, topic} {
		c.addAll(t, numbered(c.intake(), target, 0, 3)...)
		s.waitEvents(target, 3)
	}

	r := c.redisServer
	r.Signal(t, syscall.SIGTERM) // a clean end, so that Redis keeps all
	r.ExitCode(t, patience)
	for _, p := range c.all {
		eventually(t, func() error {
			if status, _ := p.get("/readyz"); status == http.StatusOK || status == 0 {
				return fmt.Errorf("/readyz of %s gives %d without Redis", p.Name, status)
			}
			return nil
		})
		if status, body := p.get("/healthz"); status != http.StatusOK {
			t.Errorf("/healthz of %s gives %d %q without Redis, and would have it restarted", p.Name, status, body)
		}
	}
	s.sync() // the socket is still there

	r.start(t)
	for _, p := range c.all {
		p.waitReady(t)
	}
	for _, target := range []string{own, topic} {
		c.addAll(t, numbered(c.intake(), target, 3, 6)...)
		s.waitEvents(target, 6)
		c.sendDirect(t, target, number(6))
		s.waitEvents(target, 7)
		requireNumbers(t, target, s.syncEvents(target), 0, 7)
	}
}

// TestMetrics: there is something of each documented kind, and no user, topic or connection in it.
func TestMetrics(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	user, name, key := unique("metered-user"), unique("metered-topic"), unique("metered-key")
	topic := "topic:" + name
	s := join(t, c.gateways[0], user)
	s.subscribe(topic, "")
	for _, target := range []string{"user:" + user, topic} {
		c.send(t, target, number(0), "id", key)
		s.waitEvents(target, 1)
	}
	at := s.last(topic)
	s.leave()
	connect(t, c.gateways[0], user, msg{"resume": msg{topic: at}})

	for p, words := range map[*server][]string{
		c.gateways[0]: {"connection", "event", "deliver", "close", "resume"},
		c.workers[0]:  {"event", "batch", "lag", "pending"},
	} {
		var body string
		eventually(t, func() error {
			var status int
			if status, body = p.get("/metrics"); status != http.StatusOK {
				return fmt.Errorf("/metrics of %s gives %d %.300s", p.Name, status, body)
			}
			for _, word := range words {
				if !regexp.MustCompile(`(?im)^# (TYPE|HELP) .*` + word).MatchString(body) {
					return fmt.Errorf("/metrics of %s has nothing about %s", p.Name, word)
				}
			}
			return nil
		})
		for _, private := range []string{user, name, key, s.welcome.Conn} {
			if strings.Contains(body, private) {
				t.Errorf("/metrics of %s tells %s", p.Name, private)
			}
		}
	}
	for _, p := range []*server{c.gateways[1], c.workers[1]} {
		if status, body := p.get("/healthz"); status != http.StatusOK {
			t.Errorf("/healthz of %s gives %d %q", p.Name, status, body)
		}
	}
}
