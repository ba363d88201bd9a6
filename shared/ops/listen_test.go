package ops

import (
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestListenErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tc := range []struct {
		addr string
		want []string
	}{
		{"", []string{"SLUICE_ADDR is not set: want host:port"}},
		{"localhost", []string{`SLUICE_ADDR="localhost" is not allowed: want host:port`}},
		{taken.Addr().String(), []string{`SLUICE_ADDR="` + taken.Addr().String() + `"`, "address already in use", "set another port"}},
		{"192.0.2.1:0", []string{"cannot assign requested address", "this machine does not have that address"}}, // RFC 5737: nobody's
		{"127.0.0.1:99999", []string{"invalid port", "set host:port"}},
	} {
		l, err := Listen("SLUICE_ADDR", tc.addr)
		if err == nil {
			l.Close()
			t.Errorf("%q was bound to %s", tc.addr, l.Addr())
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: no %q in: %v", tc.addr, want, err)
			}
		}
	}
	if _, err := NewAdmin(AdminConfig{Addr: taken.Addr().String()}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "SLUICE_ADMIN_ADDR") {
		t.Errorf("NewAdmin: %v", err)
	}
}
