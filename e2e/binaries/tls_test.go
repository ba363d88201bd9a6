package binaries_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/shared/testkit"

	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"
)

// withTLS connects over TLS and wants a certificate of the authority.
func withTLS(a *testkit.Authority) option {
	return func(h *handshake) { h.tls = &tls.Config{RootCAs: a.Pool(), MinVersion: tls.VersionTLS12} }
}

// TestTLS: everything over TLS: clients with their gateway, gateways and workers with a Redis that speaks nothing else
// and asks for certificates. What comes, what was missed, slow clients and the drain are as without.
func TestTLS(t *testing.T) {
	t.Parallel()
	a := testkit.NewAuthority(t)
	redisCert, redisKey := a.Issue(t, "redis")
	ownCert, ownKey := a.Issue(t, "sluice")
	clientCert, clientKey := a.Issue(t, "first")
	r := startTLSRedis(t, a, redisCert, redisKey)
	c := &cluster{redisServer: r, prefix: "sluice:", partitions: 16, env: []string{
		"SLUICE_REDIS_CA_FILE=" + a.File, "SLUICE_REDIS_CERT_FILE=" + ownCert, "SLUICE_REDIS_KEY_FILE=" + ownKey,
	}}
	gateway := func() *server {
		return c.startGateway(t, "SLUICE_TLS_CERT_FILE="+clientCert, "SLUICE_TLS_KEY_FILE="+clientKey, "SLUICE_DRAIN_TIMEOUT=1s")
	}
	g, other := gateway(), gateway()
	c.startWorker(t)
	secure := withTLS(a)

	s := join(t, g, "anna", secure, withQuery("topics", "tls"))
	topic := "topic:tls"
	c.addAll(t, numbered(c.intake(), topic, 0, 5)...)
	requireNumbers(t, topic, s.waitEvents(topic, 5), 0, 5)
	at := s.last(topic)
	s.leave()
	c.addAll(t, numbered(c.intake(), topic, 5, 9)...)
	s = join(t, other, "anna", secure, withQuery("last_event_id", cursor(map[string]string{topic: at})))
	s.waitEvents(topic, 4)
	requireNumbers(t, topic, s.syncEvents(topic), 5, 9)
	requireNoGap(t, s)

	t.Run("a slow client", func(t *testing.T) { slowOverTLS(t, c, g, a) })
	t.Run("an event stream", func(t *testing.T) { streamOverTLS(t, c, g, a) })
	t.Run("without TLS", func(t *testing.T) {
		if _, err := tryDial(t, g.addr, withBearer("dev:anna")); err == nil {
			t.Error("let in")
		}
	})
	t.Run("another authority", func(t *testing.T) {
		if _, err := tryDial(t, g.addr, withBearer("dev:anna"), withTLS(testkit.NewAuthority(t))); err == nil {
			t.Error("the certificate is believed")
		}
	})
	t.Run("a new certificate", func(t *testing.T) { newCertificate(t, a, g, clientCert, clientKey) })
	t.Run("the drain", func(t *testing.T) {
		other.Signal(t, syscall.SIGTERM)
		s.mustClose(1012)
		s.waitType("goaway")
		if code := other.ExitCode(t, patience); code != 0 {
			t.Errorf("exits with %d\n%s", code, other.Tail())
		}
	})
	t.Run("Redis refuses who shows no certificate", func(t *testing.T) {
		p := startProcess(t, t, "worker", binary(t, "worker"), nil, "SLUICE_REDIS_URL="+c.as("worker"), "SLUICE_REDIS_CA_FILE="+a.File, "SLUICE_ADMIN_ADDR="+testkit.FreeAddr(t))
		p.AwaitOutput(t, patience, `waiting for Redis.*(certificate required|reset by peer|broken pipe|EOF)`)
	})
	t.Run("a Redis that nobody vouches for", func(t *testing.T) {
		p := startProcess(t, t, "worker", binary(t, "worker"), nil, "SLUICE_REDIS_URL="+c.as("worker"), "SLUICE_ADMIN_ADDR="+testkit.FreeAddr(t))
		p.AwaitOutput(t, patience, `waiting for Redis.*unknown authority`)
	})
}

// startTLSRedis starts a server that listens for nothing but TLS and wants the clients' certificates.
func startTLSRedis(t *testing.T, a *testkit.Authority, cert, key string) *redisServer {
	t.Helper()
	r := &redisServer{keeper: t, port: testkit.FreePort(t), dir: t.TempDir(), tls: true}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	client := func(user string) *redis.Client {
		o := &redis.Options{
			Addr: fmt.Sprintf("127.0.0.1:%d", r.port), MaxRetries: -1, Protocol: 2, DisableIdentity: true,
			TLSConfig: &tls.Config{RootCAs: a.Pool(), Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		}
		if user != "" {
			o.Username, o.Password = user, r.userPassword()
		}
		c := redis.NewClient(o)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	r.Client, r.producers, r.receivers = client(""), client("producer"), client("receipts")
	r.options = []string{"--port", "0", "--tls-port", fmt.Sprint(r.port), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", a.File}
	r.start(t)
	t.Cleanup(r.checkRights)
	return r
}

// slowOverTLS has a client that reads nothing until much more waits for it than fits into any queue.
func slowOverTLS(t *testing.T, c *cluster, g *server, a *testkit.Authority) {
	const events, size = 400, 8 << 10 // less than a history has, more than all queues
	dialer := websocket.Dialer{HandshakeTimeout: patience, TLSClientConfig: &tls.Config{RootCAs: a.Pool(), MinVersion: tls.VersionTLS12}}
	ws, answer, err := dialer.Dial("wss://"+g.addr+"/v1/ws?token=dev:slow", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	defer func() { _ = ws.Close() }()
	var f frame
	for f.Type != "subscribed" || f.To != "user:slow" {
		if err := ws.ReadJSON(&f); err != nil {
			t.Fatal(err)
		}
	}
	pad := strings.Repeat("x", size)
	var entries []entry
	for n := range events {
		entries = append(entries, entry{c.intake(), fields("user:slow", fmt.Sprintf(`{"n":%d,"pad":%q}`, n, pad))})
	}
	c.addAll(t, entries...)
	eventually(t, func() error {
		if n := c.XLen(ctx, c.history("user:slow")).Val(); n < events {
			return fmt.Errorf("%d of %d are in the history", n, events)
		}
		return nil
	})
	_ = ws.SetReadDeadline(time.Now().Add(patience))
	for n := 0; n < events; {
		_, b, err := ws.ReadMessage()
		if err != nil {
			t.Fatalf("after %d events: %v", n, err)
		}
		switch text := string(b); {
		case strings.Contains(text, `"type":"event"`):
			if !strings.Contains(text, fmt.Sprintf(`{"n":%d,`, n)) {
				t.Fatalf("want event %d, got %.200s", n, text)
			}
			n++
		case strings.Contains(text, `"type":"gap"`):
			t.Fatalf("after %d events: %s", n, text)
		}
	}
}

// newCertificate changes the files: what is no use changes nothing and is told, what is counts without a restart.
func newCertificate(t *testing.T, a *testkit.Authority, g *server, certFile, keyFile string) {
	shown := func() string {
		nc, err := tls.Dial("tcp", g.addr, &tls.Config{RootCAs: a.Pool(), MinVersion: tls.VersionTLS12})
		if err != nil {
			return err.Error()
		}
		defer func() { _ = nc.Close() }()
		return nc.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	a.IssueTo(t, "lonely", certFile, "") // without its key
	eventually(t, func() error {
		if name := shown(); name != "first" {
			return fmt.Errorf("the certificate of %s is shown", name)
		}
		if !strings.Contains(g.Printed(), "the new certificate for clients cannot be used") {
			return fmt.Errorf("nothing is told\n%s", g.Tail())
		}
		return nil
	})
	a.IssueTo(t, "second", certFile, keyFile)
	eventually(t, func() error {
		if name := shown(); name != "second" {
			return fmt.Errorf("the certificate of %s is shown", name)
		}
		return nil
	})
	_, metrics := g.get("/metrics")
	expiry := regexp.MustCompile(`(?m)^sluice_gateway_tls_certificate_expiry_timestamp_seconds (\S+)$`).FindStringSubmatch(metrics)
	var at float64
	if expiry != nil {
		_, _ = fmt.Sscan(expiry[1], &at)
	}
	if left := time.Until(time.Unix(int64(at), 0)); left < 47*time.Hour || left > 49*time.Hour {
		t.Errorf("the metric says that it ends in %v", left)
	}
	if !regexp.MustCompile(`(?m)^sluice_gateway_tls_certificate_failures_total [1-9]`).MatchString(metrics) {
		t.Error("the failure is not counted")
	}
}

// streamOverTLS: an event stream gives what was missed and what comes.
func streamOverTLS(t *testing.T, c *cluster, g *server, a *testkit.Authority) {
	topic := "topic:streamed"
	for n := range 3 {
		c.waitHistory(t, topic, c.sendDirect(t, topic, number(n)))
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(within, http.MethodGet, "https://"+g.addr+"/v1/sse?token=dev:anna&topics=streamed&last_event_id="+url.QueryEscape(topic+"=earliest"), nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Pool(), MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("it is answered with %s, %v", answer.Status, answer.Header)
	}
	lines := bufio.NewScanner(answer.Body)
	next := 0
	for next < 5 && lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || !strings.Contains(text, `"to":"`+topic+`"`) || !strings.Contains(text, `"prev"`) {
			continue
		}
		if !strings.Contains(text, number(next)) {
			t.Fatalf("event %d is %s", next, text)
		}
		if next++; next == 3 {
			c.sendDirect(t, topic, number(3))
			c.sendDirect(t, topic, number(4))
		}
	}
	if next < 5 {
		t.Errorf("%d of 5 events came: %v", next, lines.Err())
	}
}
