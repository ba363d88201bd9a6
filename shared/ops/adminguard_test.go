package ops

import (
	"net/http"
	"strings"
	"testing"
)

// TestAdminGuard: whether a process lives everybody may know; more those who bring the token, and without one only
// programs of this machine.
func TestAdminGuard(t *testing.T) {
	const token = "a-token-of-operators"
	anywhere, here := "0.0.0.0:0", "127.0.0.1:0"
	for _, tc := range []struct {
		name, addr, token, authorization, host string
		want                                   int // for what is guarded
	}{
		{"loopback", here, "", "", "", 200},
		{"loopback by name", here, "", "", "localhost:9090", 200},
		{"loopback by IPv6", here, "", "", "[::1]:9090", 200},
		{"loopback, a rebound name", here, "", "", "evil.example:9090", 403},
		{"loopback, a token that nobody asks for", here, "", "Bearer x", "", 200},
		{"loopback with a token, none brought", here, token, "", "", 401},
		{"loopback with a token", here, token, "Bearer " + token, "gateway.internal:9090", 200},
		{"anywhere without a token", anywhere, "", "", "", 403},
		{"anywhere without a token, an empty one brought", anywhere, "", "Bearer ", "", 403},
		{"anywhere, none brought", anywhere, token, "", "", 401},
		{"anywhere, a wrong one", anywhere, token, "Bearer " + token + "x", "", 401},
		{"anywhere, the beginning of it", anywhere, token, "Bearer " + token[:5], "", 401},
		{"anywhere, another scheme", anywhere, token, "Basic " + token, "", 401},
		{"anywhere, the right one", anywhere, token, "bearer " + token, "", 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, _ := startAdminWith(t, AdminConfig{Addr: tc.addr, Token: tc.token, Pprof: true})
			a.Handle("GET /backlog", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/cmdline", "/backlog"} {
				if status, _, body := ask(t, a, path, tc.authorization, tc.host); status != tc.want || strings.Contains(body, token) {
					t.Errorf("%s: %d %.200q, want %d", path, status, body, tc.want)
				}
			}
			for _, path := range []string{"/healthz", "/readyz"} {
				if status, _, _ := ask(t, a, path, "", tc.host); status != 200 {
					t.Errorf("%s: %d", path, status)
				}
			}
		})
	}
}

// TestProfiles: there are none unless they were asked for, one at a time, and none that is long.
func TestProfiles(t *testing.T) {
	off, _ := startAdminWith(t, AdminConfig{Addr: "127.0.0.1:0"})
	if status, _, body := get(t, off, "/debug/pprof/heap"); status != 404 || !strings.Contains(body, "SLUICE_ADMIN_PPROF") {
		t.Errorf("not asked for: %d %q", status, body)
	}

	a, _ := startAdmin(t)
	for _, query := range []string{"61", "60.5", "1e9", "Inf", "NaN", "61&seconds=1"} {
		for _, page := range []string{"profile", "trace", "allocs"} {
			if status, _, body := get(t, a, "/debug/pprof/"+page+"?seconds="+query); status != 400 || !strings.Contains(body, "60") {
				t.Errorf("%s of %s seconds: %d %q", page, query, status, body)
			}
		}
	}
	first := make(chan int, 1)
	go func() {
		status, _, _ := get(t, a, "/debug/pprof/trace?seconds=1")
		first <- status
	}()
	for refused := false; !refused; {
		select {
		case <-first:
			t.Fatal("the first one ended, and no other was refused")
		default:
			status, _, _ := get(t, a, "/debug/pprof/cmdline")
			refused = status == 503
		}
	}
	if status := <-first; status != 200 {
		t.Errorf("the first one: %d", status)
	}
	if status, _, _ := get(t, a, "/debug/pprof/cmdline"); status != 200 {
		t.Errorf("after it: %d", status)
	}
}
