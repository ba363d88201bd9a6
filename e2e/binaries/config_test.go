package binaries_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"sluice/shared/testkit"
)

// documented are the environment variables that each binary has to list.
var documented = map[string][]string{
	"gateway": {"SLUICE_REDIS_URL", "SLUICE_PREFIX", "SLUICE_PARTITIONS", "SLUICE_SERVER_ID", "SLUICE_ADDR", "SLUICE_ADMIN_ADDR",
		"SLUICE_ADMIN_TOKEN", "SLUICE_ADMIN_PPROF", "SLUICE_TLS_CERT_FILE", "SLUICE_TLS_KEY_FILE", "SLUICE_REDIS_CA_FILE",
		"SLUICE_REDIS_CERT_FILE", "SLUICE_REDIS_KEY_FILE", "SLUICE_REDIS_SENTINEL_USER", "SLUICE_REDIS_SENTINEL_PASSWORD",
		"SLUICE_HISTORY_TTL", "SLUICE_MAX_FRAME_BYTES", "SLUICE_SEND_QUEUE_BYTES", "SLUICE_PING_INTERVAL", "SLUICE_SESSION_TTL",
		"SLUICE_DRAIN_TIMEOUT", "SLUICE_AUTH", "SLUICE_AUTH_DEV_ANYWHERE", "SLUICE_JWT_SECRET", "SLUICE_JWT_AUDIENCE",
		"SLUICE_JWT_KEY_FILE", "SLUICE_JWKS_URL", "SLUICE_JWT_MAX_LIFE",
		"SLUICE_JWT_ISSUER", "SLUICE_ALLOWED_ORIGINS", "SLUICE_ACKS_SIZE", "SLUICE_MAX_MEMORY_PERCENT", "SLUICE_MAX_BACKLOG_BYTES", "SLUICE_WAKE_URL", "SLUICE_FUNCTION_SECRET"},
	"worker": {"SLUICE_REDIS_URL", "SLUICE_PREFIX", "SLUICE_PARTITIONS", "SLUICE_ADMIN_ADDR", "SLUICE_HISTORY_SIZE",
		"SLUICE_ADMIN_TOKEN", "SLUICE_ADMIN_PPROF", "SLUICE_REDIS_CA_FILE", "SLUICE_REDIS_CERT_FILE", "SLUICE_REDIS_KEY_FILE",
		"SLUICE_REDIS_SENTINEL_USER", "SLUICE_REDIS_SENTINEL_PASSWORD",
		"SLUICE_HISTORY_BYTES", "SLUICE_MAX_MEMORY_PERCENT", "SLUICE_HISTORY_TTL", "SLUICE_MAX_FRAME_BYTES", "SLUICE_CURSOR_TTL", "SLUICE_ACK_SYNC",
		"SLUICE_TARGET_CACHE", "SLUICE_ROLES", "SLUICE_DRAIN_IDLE"},
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for name, variables := range documented {
		t.Run(name, func(t *testing.T) {
			p := startProcess(t, t, name, binary(t, name), []string{"-h"})
			if code := p.ExitCode(t, patience); code != 0 {
				t.Errorf("-h exits with %d", code)
			}
			help := p.Printed()
			for _, v := range variables {
				if !regexp.MustCompile(v + `\b`).MatchString(help) {
					t.Errorf("-h does not list %s", v)
				}
			}
			if name != "gateway" {
				return
			}
			for _, value := range []string{`:8080`, `127\.0\.0\.1:9090`, `64 ?K|65536`, `25s`, `60s|1m`, `20s`, `24h`} {
				if !regexp.MustCompile(value).MatchString(help) {
					t.Errorf("-h does not say the default %s", value)
				}
			}
		})
	}
}

// refusal starts a binary that has to refuse, and returns what it said.
func (c *cluster) refusal(t *testing.T, name string, env ...string) string {
	t.Helper()
	given := append([]string{"SLUICE_REDIS_URL=" + c.url(), "SLUICE_ADMIN_ADDR=" + testkit.FreeAddr(t)}, env...)
	if name == "gateway" {
		given = append([]string{"SLUICE_ADDR=" + testkit.FreeAddr(t), "SLUICE_AUTH=dev"}, given...)
	}
	p := startProcess(t, t, name, binary(t, name), nil, given...)
	if code := p.ExitCode(t, patience); code <= 0 {
		t.Errorf("%s exits with %d, not with an error\n%s", name, code, p.Tail())
	}
	return p.Printed()
}

// TestBadSettings: one sentence names the variable, its value and what is allowed.
func TestBadSettings(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	// What is allowed is told in words of the developers' choice; these are the usual ones.
	const number = `(?i)allowed|must|want|number|integer|between|at least|at most|greater|positive|above|more than|from \d|power|\d+ (to|or)`
	const duration = `(?i)allowed|must|want|duration|such as|like|e\.g\.|at least|greater|positive|above|more than|between|seconds`
	const address = `(?i)allowed|must|want|host|port|address|such as|like|e\.g\.`
	for _, tc := range []struct{ binary, variable, value, allowed string }{
		{"gateway", "SLUICE_PARTITIONS", "0", number},
		{"gateway", "SLUICE_PARTITIONS", "many", number},
		{"gateway", "SLUICE_HISTORY_TTL", "soon", duration},
		{"gateway", "SLUICE_PING_INTERVAL", "-1s", duration},
		{"gateway", "SLUICE_SESSION_TTL", "0s", duration},
		{"gateway", "SLUICE_DRAIN_TIMEOUT", "never", duration},
		{"gateway", "SLUICE_AUTH", "magic", `(?s)jwt.*dev|dev.*jwt`},
		{"gateway", "SLUICE_ADDR", "nowhere", address},
		{"gateway", "SLUICE_ADMIN_ADDR", "127.0.0.1:99999", address},
		{"gateway", "SLUICE_REDIS_URL", "http://127.0.0.1:6379", `redis://`},
		{"gateway", "SLUICE_MAX_FRAME_BYTES", "-7", number},
		{"gateway", "SLUICE_SEND_QUEUE_BYTES", "lots", number},
		{"worker", "SLUICE_PARTITIONS", "-16", number},
		{"worker", "SLUICE_HISTORY_SIZE", "-5", number},
		{"worker", "SLUICE_HISTORY_TTL", "-24h", duration},
		{"worker", "SLUICE_MAX_FRAME_BYTES", "64KB", number},
		{"worker", "SLUICE_CURSOR_TTL", "0s", duration},
		{"worker", "SLUICE_ACK_SYNC", "maybe", `true|false`},
		{"worker", "SLUICE_TARGET_CACHE", "1", number},
		{"worker", "SLUICE_DRAIN_IDLE", "0s", duration},
		{"worker", "SLUICE_ROLES", "events,lanes", `all.*events.*acks.*slow`},
		{"worker", "SLUICE_ROLES", ",", `all.*events.*acks.*slow`},
		{"gateway", "SLUICE_ACKS_SIZE", "10", number},
	} {
		t.Run(tc.binary+" "+tc.variable+"="+tc.value, func(t *testing.T) {
			t.Parallel()
			said := c.refusal(t, tc.binary, tc.variable+"="+tc.value)
			var naming []string
			for line := range strings.Lines(said) {
				isList := strings.Count(line, "SLUICE_") > 5 // all settings, as printed at the start
				if !isList && strings.Contains(line, tc.variable) && strings.Contains(line, tc.value) {
					naming = append(naming, line)
				}
			}
			if len(naming) != 1 || strings.Contains(said, "goroutine ") {
				t.Fatalf("want one sentence with %s and %s, got:\n%s", tc.variable, tc.value, said)
			}
			rest := strings.ReplaceAll(strings.Replace(naming[0], tc.value, "", 1), tc.variable, "")
			if !regexp.MustCompile(tc.allowed).MatchString(rest) {
				t.Errorf("it does not say what is allowed: %s", naming[0])
			}
		})
	}
}

// TestSettingsThatDoNotGoTogether: tokens need a secret, dev tokens a loopback address, and all processes one P, and
// one version of the keys.
func TestSettingsThatDoNotGoTogether(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	if err := c.HSet(ctx, "older:meta", "version", "1", "partitions", "16").Err(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, binary string
		env, says    []string
	}{
		{"a key without its certificate", "gateway", []string{"SLUICE_TLS_KEY_FILE=/some/key.pem"}, []string{"SLUICE_TLS_CERT_FILE"}},
		{"a certificate that is not there", "gateway", []string{"SLUICE_TLS_KEY_FILE=/no/key.pem", "SLUICE_TLS_CERT_FILE=/no/cert.pem"}, []string{"SLUICE_TLS_CERT_FILE", "no/cert.pem"}},
		{"PROXY protocol before TLS", "gateway", []string{"SLUICE_TLS_KEY_FILE=k", "SLUICE_TLS_CERT_FILE=c", "SLUICE_PROXY_HEADER=proxy-protocol"}, []string{"SLUICE_PROXY_HEADER", "SLUICE_TLS_CERT_FILE"}},
		{"an authority without TLS", "worker", []string{"SLUICE_REDIS_CA_FILE=/some/ca.pem"}, []string{"SLUICE_REDIS_CA_FILE", "rediss://"}},
		{"a password of Sentinels without Sentinels", "worker", []string{"SLUICE_REDIS_SENTINEL_PASSWORD=sesame"}, []string{"SLUICE_REDIS_SENTINEL_PASSWORD", "master_name"}},
		{"jwt without keys", "gateway", []string{"SLUICE_AUTH=jwt"}, []string{"SLUICE_JWT_SECRET"}},
		{"jwt with a short secret", "gateway", []string{"SLUICE_AUTH=jwt", "SLUICE_JWT_SECRET=short"}, []string{"SLUICE_JWT_SECRET", "5 bytes", "32"}},
		{"jwt with a key file that is not there", "gateway", []string{"SLUICE_AUTH=jwt", "SLUICE_JWT_KEY_FILE=/none.pem"}, []string{"SLUICE_JWT_KEY_FILE", "no such file"}},
		// The value itself may be kept back: nobody can tell where a password is in it.
		{"a Redis URL that is none", "worker", []string{"SLUICE_REDIS_URL=localhost"}, []string{"SLUICE_REDIS_URL", "redis://"}},
		{"an address to wake workers that is none", "gateway", []string{"SLUICE_WAKE_URL=wake.example"}, []string{"SLUICE_WAKE_URL", "https://"}},
		{"a secret that is none", "gateway", []string{"SLUICE_FUNCTION_SECRET=sesame"}, []string{"SLUICE_FUNCTION_SECRET", "whsec_"}},
		{"dev on all addresses", "gateway", []string{fmt.Sprintf("SLUICE_ADDR=0.0.0.0:%d", testkit.FreePort(t))}, []string{"SLUICE_AUTH_DEV_ANYWHERE"}},
		{"dev on all addresses, short", "gateway", []string{fmt.Sprintf("SLUICE_ADDR=:%d", testkit.FreePort(t))}, []string{"SLUICE_AUTH_DEV_ANYWHERE"}},
		{"a gateway with another P", "gateway", []string{"SLUICE_PARTITIONS=8"}, []string{"SLUICE_PARTITIONS", "8", "16"}},
		{"a worker with another P", "worker", []string{"SLUICE_PARTITIONS=32"}, []string{"SLUICE_PARTITIONS", "32", "16"}},
		{"a gateway with older keys", "gateway", []string{"SLUICE_PREFIX=older:"}, []string{"older:meta", "version", "1", "2", "SLUICE_PREFIX"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			said := c.refusal(t, tc.binary, tc.env...)
			for _, text := range tc.says {
				if !regexp.MustCompile(`\b` + text + `(\b|$|\W)`).MatchString(said) {
					t.Errorf("%s is not mentioned in:\n%s", text, said)
				}
			}
			if strings.Contains(said, "goroutine ") {
				t.Errorf("a stack trace:\n%s", said)
			}
		})
	}
	t.Run("dev anywhere, on request", func(t *testing.T) {
		port := testkit.FreePort(t)
		g := c.startGateway(t, fmt.Sprintf("SLUICE_ADDR=0.0.0.0:%d", port), "SLUICE_AUTH_DEV_ANYWHERE=1")
		g.addr = fmt.Sprintf("127.0.0.1:%d", port)
		join(t, g, unique("anywhere"))
	})
}

// TestSettingsWork is a second system in the Redis of another one, with settings of its own.
func TestSettingsWork(t *testing.T) {
	t.Parallel()
	shared := sharedCluster(t)
	own := &cluster{redisServer: shared.redisServer, prefix: "second:", partitions: 5, env: []string{
		"SLUICE_PREFIX=second:", "SLUICE_PARTITIONS=5", "SLUICE_MAX_FRAME_BYTES=2048"}}
	g := own.startGateway(t)
	own.startWorker(t)
	topic := "topic:" + unique("both")
	here, there := join(t, g, "anna"), join(t, shared.gateways[0], "anna")
	here.subscribe(topic, "")
	there.subscribe(topic, "")

	own.send(t, topic, number(0))
	here.waitEvents(topic, 1)
	for n := 1; n < 5; n++ {
		own.sendDirect(t, topic, number(n))
		requireNumbers(t, topic, here.waitEvents(topic, n+1), 0, n+1)
	}
	shared.send(t, topic, `"elsewhere"`)
	there.waitData(topic, `"elsewhere"`)
	if n := len(there.syncEvents(topic)); n != 1 {
		t.Errorf("%d events came through another prefix", n-1)
	}
	requireNumbers(t, topic, here.syncEvents(topic), 0, 5)

	if meta := own.HGetAll(ctx, "second:meta").Val(); !hasValue(meta, "5") {
		t.Errorf("second:meta does not hold the number of partitions: %v", meta)
	} else if !hasValue(meta, "3 2 12 1 0") {
		t.Errorf("second:meta does not hold the tags of its partitions: %v", meta)
	}
	if meta := shared.HGetAll(ctx, "sluice:meta").Val(); !hasValue(meta, "16") {
		t.Errorf("sluice:meta does not hold the number of partitions: %v", meta)
	}

	here.mustError(here.ask(msg{"type": "publish", "to": topic, "data": strings.Repeat("x", 2049)}), "too_large")
	run := unique("run")
	own.send(t, topic, strings.Repeat("x", 2049), "mark", run+"/0")
	own.waitDead(t, run, 1)
	own.send(t, topic, strings.Repeat("x", 2048))
	here.waitEvents(topic, 6)
	here.sendText(`{"type":"ping","x":"` + strings.Repeat("x", 2048+4096) + `"}`)
	here.mustClose(1009)
}

func hasValue(m map[string]string, value string) bool {
	for _, v := range m {
		if v == value {
			return true
		}
	}
	return false
}

// TestSecretsAreNotPrinted has a password in the URL, a JWT secret, tokens, and Redis going away.
func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	const password = "hunter2-of-redis"
	r := startRedis(t, t, password)
	c := clusterOn(t, t, r, 0, 1)
	g := c.startGateway(t, "SLUICE_AUTH=jwt", "SLUICE_JWT_SECRET="+jwtSecret)
	token := jwtHS256(t, jwtSecret, claims("anna", msg{"aud": nil, "iss": nil}))
	s := dial(t, g, withQuery("token", token)).settle()
	c.send(t, "user:anna", number(0))
	s.waitEvents("user:anna", 1)
	dial(t, g, withQuery("token", "wrong-"+token)).mustClose(4501)
	r.Signal(t, syscall.SIGTERM)
	r.ExitCode(t, patience)
	for _, p := range c.all {
		eventually(t, func() error {
			if status, _ := p.get("/readyz"); status == http.StatusOK {
				return fmt.Errorf("%s is ready without Redis", p.Name)
			}
			return nil
		})
	}
	r.start(t)
	for _, p := range c.all {
		p.waitReady(t)
		p.Signal(t, syscall.SIGTERM)
		p.ExitCode(t, patience)
		requireNoSecrets(t, p.Printed(), password, jwtSecret, token)
	}
	if out := c.refusal(t, "worker", "SLUICE_REDIS_URL=redis://:"+password+"@127.0.0.1:no-port"); !strings.Contains(out, "SLUICE_REDIS_URL") {
		t.Errorf("the variable is not named in:\n%s", out)
	} else {
		requireNoSecrets(t, out, password)
	}
	out := c.refusal(t, "gateway", "SLUICE_JWT_SECRET="+jwtSecret, "SLUICE_AUTH=jwt", "SLUICE_PING_INTERVAL=never")
	requireNoSecrets(t, out, password, jwtSecret)
}

func requireNoSecrets(t *testing.T, out string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		if strings.Contains(out, secret) {
			t.Errorf("the secret %q was printed:\n%s", secret, out)
		}
	}
}
