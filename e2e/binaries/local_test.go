package binaries_test

import (
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/shared/testkit"

	"github.com/redis/go-redis/v9"
)

// local is a running sluice-local, known only by what it printed.
type local struct {
	*server
	page  string // the page's URL
	redis string // its Redis
}

// startLocal starts sluice-local and reads the lines that it prints for its user.
func startLocal(t *testing.T, env ...string) *local {
	t.Helper()
	env = append([]string{"SLUICE_DRAIN_TIMEOUT=1s"}, env...)
	p := startProcess(t, t, "sluice-local", binary(t, "sluice-local"), nil, env...)
	l := &local{server: &server{Process: p, id: "local"}}
	l.redis = p.AwaitOutput(t, patience, `redis://(127\.0\.0\.1:\d+)`)[1]
	p.AwaitOutput(t, patience, `XADD sluice:events`)
	eventually(t, func() error {
		if p.Ended() {
			t.Fatalf("sluice-local exited\n%s", p.Tail())
		}
		for _, url := range regexp.MustCompile(`http://((?:127\.0\.0\.1|localhost):\d+)`).FindAllStringSubmatch(p.Printed(), -1) {
			if status, body := httpGet(url[0] + "/"); status == http.StatusOK && strings.Contains(strings.ToLower(body), "<html") {
				l.page, l.addr = url[0], strings.Replace(url[1], "localhost", "127.0.0.1", 1)
				return nil
			}
		}
		return fmt.Errorf("no page at any URL that it printed\n%s", p.Tail())
	})
	return l
}

func (l *local) add(t *testing.T, rdb *redis.Client, target, data string) {
	t.Helper()
	if err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: "sluice:events", Values: fields(target, data)}).Err(); err != nil {
		t.Fatalf("XADD to the printed Redis %s: %v", l.redis, err)
	}
}

// TestLocal is a newcomer's first minute: an XADD arrives on a socket; away for three more; back, exactly these three.
func TestLocal(t *testing.T) {
	t.Parallel()
	l := startLocal(t)
	rdb := newRedisClient(l.redis, "")
	t.Cleanup(func() { _ = rdb.Close() })

	topic := "topic:room-1"
	first := join(t, l.server, "alice", withQuery("topics", "room-1"))
	l.add(t, rdb, topic, number(0))
	requireNumbers(t, topic, first.waitEvents(topic, 1), 0, 1)
	at := map[string]string{topic: first.last(topic)}
	first.leave()
	for n := 1; n <= 3; n++ {
		l.add(t, rdb, topic, number(n))
	}
	second := join(t, l.server, "alice", withQuery("last_event_id", cursor(at)))
	second.waitEvents(topic, 3)
	requireNumbers(t, topic, second.syncEvents(topic), 1, 4)
	requireNoGap(t, second)

	t.Run("the page connects", func(t *testing.T) {
		// A browser on that page connects to the host in its URL and sends that as its origin.
		s, err := tryDial(t, strings.TrimPrefix(l.page, "http://"), withQuery("token", "dev:browser"), withHeader("Origin", l.page))
		if err != nil {
			t.Fatalf("the page %s cannot connect: %v", l.page, err)
		}
		s.settle()
	})
	t.Run("printed lines", func(t *testing.T) {
		out := l.Printed()
		for what, expression := range map[string]string{
			"connecting": `/v1/(ws|sse)`, "resuming": `(?i)last_event_id|last-event-id|resume`,
		} {
			if !regexp.MustCompile(expression).MatchString(out) {
				t.Errorf("no line for %s in:\n%s", what, out)
			}
		}
	})
	t.Run("the printed XADD", func(t *testing.T) {
		if _, err := exec.LookPath("redis-cli"); err != nil {
			t.Skip("no redis-cli to run the printed line with")
		}
		line := regexp.MustCompile(`redis-cli .*XADD sluice:events .*`).FindString(l.Printed())
		if line == "" {
			t.Fatalf("no line for redis-cli in:\n%s", l.Printed())
		}
		target := regexp.MustCompile(`\bto ['"]?([^ '"]+)`).FindStringSubmatch(line)
		if target == nil {
			t.Fatalf("no target in %s", line)
		}
		user := "alice"
		if kind, name, _ := strings.Cut(target[1], ":"); kind == "user" {
			user = name
		}
		s := join(t, l.server, user)
		if strings.HasPrefix(target[1], "topic:") {
			s.subscribe(target[1], "")
		}
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
		s.waitEvents(target[1], 1)
	})
	t.Run("loopback only", func(t *testing.T) {
		_, port, err := net.SplitHostPort(l.addr)
		if err != nil {
			t.Fatal(err)
		}
		for _, ip := range otherAddresses(t) {
			for _, p := range []string{port, strings.Split(l.redis, ":")[1]} {
				if conn, err := net.Dial("tcp", net.JoinHostPort(ip, p)); err == nil {
					_ = conn.Close()
					t.Errorf("listens on %s:%s", ip, p)
				}
			}
		}
	})
	t.Run("Ctrl-C", func(t *testing.T) {
		l.Signal(t, syscall.SIGINT)
		second.mustClose(1012)
		if code := l.ExitCode(t, patience); code != 0 {
			t.Errorf("exits with %d\n%s", code, l.Tail())
		}
	})
}

// otherAddresses are this machine's IPv4 addresses that are not loopback.
func otherAddresses(t *testing.T) []string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var others []string
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			others = append(others, n.IP.String())
		}
	}
	return others
}

// TestLocalPortTaken: the default port is taken, by another program or by another sluice-local: another one is chosen and said.
func TestLocalPortTaken(t *testing.T) {
	t.Parallel()
	taken := takeDefaultPort(t)
	one, two := startLocal(t), startLocal(t)
	for _, l := range []*local{one, two} {
		if taken && strings.HasSuffix(l.addr, ":8080") {
			t.Errorf("says that it has the port that is taken: %s", l.page)
		}
		rdb := newRedisClient(l.redis, "")
		t.Cleanup(func() { _ = rdb.Close() })
		s := join(t, l.server, "alice")
		l.add(t, rdb, "user:alice", fmt.Sprintf("%q", l.addr))
		s.waitData("user:alice", fmt.Sprintf("%q", l.addr))
	}
	if one.addr == two.addr || one.redis == two.redis {
		t.Errorf("two of them at one address: %s %s, %s %s", one.addr, one.redis, two.addr, two.redis)
	}
}

// takeDefaultPort takes the default port until the test ends, and reports whether it did. The sluice-local of another
// test may have it, which lets it go at any time, so this waits for it; a program of somebody else may never do so.
func takeDefaultPort(t *testing.T) bool {
	t.Helper()
	for end := time.Now().Add(patience / 2); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		if l, err := net.Listen("tcp", "127.0.0.1:8080"); err == nil {
			t.Cleanup(func() { _ = l.Close() })
			return true
		}
	}
	return false
}

// TestLocalWithARedis: SLUICE_REDIS_URL is used instead of the embedded one.
func TestLocalWithARedis(t *testing.T) {
	t.Parallel()
	r := startRedis(t, t, "")
	addr := testkit.FreeAddr(t)
	l := startLocal(t, "SLUICE_REDIS_URL="+r.url(), "SLUICE_ADDR="+addr)
	if l.addr != addr || l.redis != fmt.Sprintf("127.0.0.1:%d", r.port) {
		t.Errorf("it uses %s and %s, told were %s and %s", l.addr, l.redis, addr, r.url())
	}
	s := join(t, l.server, "alice")
	l.add(t, r.Client, "user:alice", number(0))
	s.waitEvents("user:alice", 1)
	l.Signal(t, syscall.SIGTERM)
	if code := l.ExitCode(t, patience); code != 0 {
		t.Errorf("exits with %d on SIGTERM\n%s", code, l.Tail())
	}
}
