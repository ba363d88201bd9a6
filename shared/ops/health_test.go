package ops

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// healthConfig is a program's settings as far as health needs them.
type healthConfig struct {
	AdminAddr string `env:"SLUICE_ADMIN_ADDR" envDefault:"127.0.0.1:9090" help:"h" allow:"a"`
}

// execHealth runs `prog health args...` with SLUICE_ADMIN_ADDR=addr.
func execHealth(addr string, args ...string) (code int, stdout, stderr string) {
	var cfg healthConfig
	p := Program{
		Name: "prog", Summary: "s", Config: &cfg,
		Run:      func(context.Context, *slog.Logger) error { return errors.New("the program was run, not its command") },
		Commands: map[string]Command{"health": HealthCommand(&cfg.AdminAddr)},
	}
	var out, errs bytes.Buffer
	code = p.Exec(append([]string{"health"}, args...), map[string]string{"SLUICE_ADMIN_ADDR": addr}, &out, &errs, nil)
	return code, out.String(), errs.String()
}

func TestHealthCommand(t *testing.T) {
	admin, err := NewAdmin(AdminConfig{Addr: "127.0.0.1:0"}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- admin.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	_, port, _ := net.SplitHostPort(admin.Addr())
	const alive = "ok\n"

	check := func(name, addr string, args []string, wantCode int, wantOut, wantErr string) {
		t.Helper()
		code, stdout, stderr := execHealth(addr, args...)
		if code != wantCode || !strings.Contains(stdout, wantOut) || (wantOut == "") != (stdout == "") ||
			!strings.Contains(stderr, wantErr) || (wantErr == "") != (stderr == "") {
			t.Errorf("%s: code %d, stdout %q, stderr %q; want %d, %q, %q", name, code, stdout, stderr, wantCode, wantOut, wantErr)
		}
	}
	for _, addr := range []string{"127.0.0.1:" + port, ":" + port, "0.0.0.0:" + port, "[::]:" + port, "localhost:" + port} {
		check("alive on "+addr, addr, nil, ExitOK, alive, "")
	}
	check("ready", ":"+port, []string{"ready"}, ExitOK, `"ready":true`, "")
	admin.AddReadyCheck("redis", func() error { return errors.New("cannot be reached") })
	check("alive, not ready", ":"+port, nil, ExitOK, alive, "")
	check("not ready", ":"+port, []string{"ready"}, ExitFailed, "", "cannot be reached")

	check("an argument too many", ":"+port, []string{"ready", "now"}, ExitUsage, "", `not "ready now"`)
	check("a wrong argument", ":"+port, []string{"steady"}, ExitUsage, "", `not "steady"`)
	check("no port", "localhost", nil, ExitUsage, "", "SLUICE_ADMIN_ADDR")
	check("a port that nobody can know", "127.0.0.1:0", nil, ExitUsage, "", "SLUICE_ADMIN_ADDR")
	check("a host that is none", "a b:80", nil, ExitUsage, "", "SLUICE_ADMIN_ADDR")

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := taken.Addr().String()
	_ = taken.Close()
	check("nobody there", free, nil, ExitFailed, "", `no answer on SLUICE_ADMIN_ADDR="`+free+`"`)
}

// TestHealthCommandGivesUp is a process that hangs: it accepts and never answers.
func TestHealthCommandGivesUp(t *testing.T) {
	hangs, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hangs.Close() }()
	if code, _, stderr := execHealth(hangs.Addr().String()); code != ExitFailed || !strings.Contains(stderr, "deadline") {
		t.Errorf("code %d, stderr %q", code, stderr)
	}
}
