package compose_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

const largestImage = 15_000_000 // bytes

// images checks what the images are and how their containers run.
func images(t *testing.T, s *system) {
	for _, service := range []string{"gateway", "worker", "playground"} {
		image := "sluice-" + service + ":" + version
		size, err := strconv.Atoi(docker(t, "image", "inspect", "--format", "{{.Size}}", image))
		if err != nil || size > largestImage {
			t.Errorf("%s has %d bytes (%v), more than %d", image, size, err, largestImage)
		}
		if out := docker(t, "run", "--rm", "--network", "none", image, "-version"); out != service+" "+version {
			t.Errorf("%s -version prints %q, want the version %s", service, out, version)
		}
		id := s.containers(t, service)[0]
		how := inspect(t, id, "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{gt .HostConfig.Memory 0}}")
		if want := "65532:65532 true [ALL] [no-new-privileges:true] true"; how != want {
			t.Errorf("%s runs as (user, read only, without, options, memory limit) %s, want %s", service, how, want)
		}
		if !strings.Contains(logOf(id), "version="+version) {
			t.Errorf("the log of %s does not say its version", service)
		}
		eventually(t, func() error {
			if health := inspect(t, id, "{{.State.Health.Status}}"); health != "healthy" {
				return fmt.Errorf("%s is %s, by its own health check", service, health)
			}
			return nil
		})
		docker(t, "exec", id, service, "health", "ready")
		t.Logf("%s: %.1f MB", image, float64(size)/1e6)
	}
	// Compose kills what has not stopped by then.
	grace, err := strconv.Atoi(inspect(t, s.containers(t, "gateway")[0], "{{.Config.StopTimeout}}"))
	if err != nil || grace <= defaultDrain {
		t.Errorf("gateways are given %d s to stop (%v), not more than the %d s of their drain", grace, err, defaultDrain)
	}
	metrics := docker(t, "exec", s.one(t, "haproxy"), "wget", "-q", "-O", "-", "--header", "Authorization: Bearer "+adminToken, "http://gateway:9090/metrics")
	if want := fmt.Sprintf(`sluice_build_info{component="gateway",version=%q} 1`, version); !strings.Contains(metrics, want) {
		t.Errorf("the metrics of a gateway do not hold %s", want)
	}
}

// believesNobody checks that gateways of compose.yaml alone do not start without a secret, and that those of
// compose.dev.yaml warn of what they do and are no prey of pages whose name was made to resolve to this machine.
func believesNobody(t *testing.T, s *system) {
	plain := append(slices.Clone(s.command[:len(s.command)-4]), "run", "--rm", "--no-deps", "gateway") // without the last two files
	if _, err := run(commandTime, s.root, s.env, plain...); err == nil || !strings.Contains(err.Error(), "SLUICE_JWT_SECRET") {
		t.Errorf("a gateway without a secret: %v", err)
	}
	for _, id := range s.containers(t, "gateway") {
		if !strings.Contains(logOf(id), "everybody is believed") {
			t.Errorf("the log of %s does not warn", name(t, id))
		}
	}
	_, port, _ := net.SplitHostPort(s.haproxy)
	for host, let := range map[string]bool{"localhost:" + port: true, "rebound.example:" + port: false} {
		header := http.Header{"Origin": {"http://" + host}, "Host": {host}, "Authorization": {"Bearer dev:eve"}}
		ws, _, err := websocket.DefaultDialer.Dial("ws://"+s.haproxy+"/v1/ws", header)
		if err != nil {
			t.Fatal(err)
		}
		_ = ws.SetReadDeadline(time.Now().Add(answerTime))
		var first frame
		err = ws.ReadJSON(&first)
		_ = ws.Close()
		if (err == nil && first.Type == "welcome") != let {
			t.Errorf("asked for by %s: %+v, %v; want let in: %t", host, first, err, let)
		}
	}
	metrics, err := exec.Command("docker", "exec", s.one(t, "haproxy"), "wget", "-q", "-O", "-", "http://gateway:9090/metrics").CombinedOutput()
	if err == nil || strings.Contains(string(metrics), "sluice_") {
		t.Errorf("metrics without the token: %v %.200s", err, metrics)
	}
}

// page checks that the playground and the gateways are behind one address.
func page(t *testing.T, s *system) {
	for balancer, addr := range map[string]string{"haproxy": s.haproxy, "nginx": s.nginx} {
		for path, want := range map[string]string{
			"/":        "Sluice playground",
			"/page.js": "/v1/users",
			"/pane.js": "/sluice-stream.js",
			"/v1/ws":   "Bad Request", // of a gateway: it is no WebSocket handshake
		} {
			answer, err := http.Get("http://" + addr + path)
			if err != nil {
				t.Fatalf("%s: %v", balancer, err)
			}
			body, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			if err != nil || !strings.Contains(string(body), want) {
				t.Errorf("%s: GET %s gives %s and %.200q (%v), without %q", balancer, path, answer.Status, body, err, want)
			}
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// visitor is a connection of a short test.
type visitor struct {
	t      testing.TB
	ws     *websocket.Conn
	server string
}

// tryVisit connects as a page would, from the same origin.
func tryVisit(t testing.TB, addr, user string, resume map[string]string) (*visitor, error) {
	t.Helper()
	dialer := websocket.Dialer{HandshakeTimeout: answerTime}
	ws, _, err := dialer.Dial("ws://"+addr+"/v1/ws", http.Header{"Origin": {"http://" + addr}})
	if err != nil {
		return nil, err
	}
	v := &visitor{t: t, ws: ws}
	_ = ws.SetReadDeadline(time.Now().Add(answerTime))
	var welcome frame
	err = ws.WriteJSON(map[string]any{"type": "connect", "token": "dev:" + user, "resume": resume})
	if err == nil {
		err = ws.ReadJSON(&welcome)
	}
	if err == nil && welcome.Type != "welcome" {
		err = fmt.Errorf("the first frame is %+v", welcome)
	}
	if err != nil {
		_ = ws.Close()
		return nil, err
	}
	v.server = welcome.Server
	return v, nil
}

// visit connects, and tries again as clients do.
func visit(t testing.TB, addr, user string, resume map[string]string) (v *visitor) {
	t.Helper()
	eventually(t, func() (err error) {
		if v, err = tryVisit(t, addr, user, resume); err != nil {
			return fmt.Errorf("cannot connect through %s: %w", addr, err)
		}
		return nil
	})
	t.Cleanup(v.leave)
	return v
}

func (v *visitor) leave() { _ = v.ws.Close() }

// wait reads until a frame of the kind comes.
func (v *visitor) wait(kind string) (f frame) {
	v.t.Helper()
	for f.Type != kind {
		f = frame{}
		_ = v.ws.SetReadDeadline(time.Now().Add(patience))
		if err := v.ws.ReadJSON(&f); err != nil {
			v.t.Fatalf("no %s: %v", kind, err)
		}
	}
	return f
}

// waitNumbers reads events until these have come, and nothing else.
func (v *visitor) waitNumbers(want ...int) (last frame) {
	v.t.Helper()
	for _, n := range want {
		if last = v.wait("event"); last.Data.N != n {
			v.t.Fatalf("got event %d (%v), want %d", last.Data.N, last.ID, n)
		}
	}
	return last
}

// add appends an event with redis-cli.
func (s *stack) add(t testing.TB, to string, n int) {
	t.Helper()
	docker(t, "exec", s.one(t, "redis"), "redis-cli", "XADD", "sluice:events", "*", "to", to, "data", fmt.Sprintf(`{"n":%d}`, n))
}

// deliver adds events for a user who is there, through each balancer.
func deliver(t *testing.T, s *system) {
	haproxy, nginx := visit(t, s.haproxy, "alice", nil), visit(t, s.nginx, "alice", nil)
	s.add(t, "user:alice", 1)
	s.add(t, "user:alice", 2)
	haproxy.waitNumbers(1, 2)
	nginx.waitNumbers(1, 2)
}

// comeBack leaves one gateway and comes back to another.
func comeBack(t *testing.T, s *system) {
	v := visit(t, s.haproxy, "bob", nil)
	s.add(t, "user:bob", 1)
	last := v.waitNumbers(1)
	first := v.server
	v.leave()
	for n := 2; n <= 4; n++ {
		s.add(t, "user:bob", n)
	}
	resume := map[string]string{"user:bob": last.ID.String()}
	for tries := 0; v.server == first; tries++ {
		if tries == 20 {
			t.Fatalf("20 connections in a row came to %s", first)
		}
		// Those that came to the same gateway stay until the end, so that leastconn takes another one.
		v = visit(t, s.haproxy, "bob", resume)
	}
	v.waitNumbers(2, 3, 4)
	s.add(t, "user:bob", 5)
	v.waitNumbers(5)
	t.Logf("was on %s, came back to %s and got the 3 events that were added meanwhile, then the next one", first, v.server)
}
