package gateway

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/gateway/auth"
	"sluice/shared/wire"
)

// TestCallUnknown: a gateway that has only begun cannot say that there is no function.
func TestCallUnknown(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry())
	g := &Gateway{metrics: m, calls: newCalls(nil, time.Second, m, slog.New(slog.DiscardHandler))}
	v, err := auth.New(auth.Config{Mode: auth.ModeDev})
	if err != nil {
		t.Fatal(err)
	}
	id, err := v.Await(t.Context(), "dev:alice", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	call := func() (code string) {
		var refused *wire.FrameError
		if errors.As(g.mayCall(id, &wire.ClientFrame{Name: "rename"}), &refused) {
			code = refused.Code
		}
		return code
	}
	if got := call(); got != wire.CodeUnavailable {
		t.Errorf("before it knows, %q", got)
	}
	g.calls.takes.Store(parseKinds(nil))
	if got := call(); got != wire.CodeBadRequest {
		t.Errorf("without functions, %q", got)
	}
}
