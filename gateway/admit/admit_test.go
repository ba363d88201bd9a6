package admit

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"sluice/gateway/auth"
	"sluice/gateway/calls"
	"sluice/gateway/limits"
	"sluice/shared/wire"
)

func testAdmission() *Admission {
	return New(Options{
		Calls: calls.New(calls.Options{}), ConnectTimeout: time.Second, HandshakeRate: 1, AddressConnections: 2, Gone: func() {},
		Refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "refused"}, []string{"reason"}), Log: slog.New(slog.DiscardHandler),
	})
}

// TestRefusals: where a refusal is told by an error, its code says the same as the close code.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		r    *Refusal
		want string
	}{
		{RefusedPage, wire.CodeForbidden},
		{RefusedNoBearer, wire.CodeUnauthorized},
		{RefusedConnections, wire.CodeUnavailable},
		{RefusedRate, wire.CodeRateLimited},
		{RefusedLarge, wire.CodeBadRequest},
		{(&KeptOut{"spam"}).Refusal(), wire.CodeForbidden},
		{&Refusal{refusedByFunction, CloseCode(4321), "no"}, wire.CodeForbidden},
		{refusalOf(&auth.Error{Reason: auth.ReasonExpired}), wire.CodeUnauthorized},
	} {
		if got := c.r.FrameError(); got.Code != c.want || got.Message != c.r.Text {
			t.Errorf("%+v is told as %+v, want %s", c.r, got, c.want)
		}
	}
	for wanted, want := range map[uint64]int{0: wire.CloseForbidden, 1000: wire.CloseForbidden, 3999: wire.CloseForbidden, 4000: 4000, 4999: 4999, 5000: wire.CloseForbidden} {
		if got := CloseCode(wanted); got != want {
			t.Errorf("a function closes with %d by %d, want %d", wanted, got, want)
		}
	}
}

// TestKnock: so many handshakes and so many connections of one address, and no more before some have left.
func TestKnock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := testAdmission()
		knock := func(from string, want int) *Visit {
			t.Helper()
			r, w := httptest.NewRequest(http.MethodGet, "/v1/ws", nil), httptest.NewRecorder()
			r.RemoteAddr = from + ":1"
			v, ok := a.Knock(w, r)
			if ok != (want == http.StatusOK) || w.Code != want || !ok && w.Header().Get("Retry-After") == "" {
				t.Fatalf("%s: %v, %d, want %d", from, ok, w.Code, want)
			}
			return v
		}
		first := knock("192.0.2.1", http.StatusOK)
		knock("192.0.2.1", http.StatusOK)
		knock("192.0.2.1", http.StatusTooManyRequests)
		knock("192.0.2.2", http.StatusOK)
		a.Leave(first)
		a.Leave(nil)
		again := knock("192.0.2.1", http.StatusOK)
		for range int(limits.BurstTime/time.Second) - 4 {
			a.Leave(again)
			again = knock("192.0.2.1", http.StatusOK)
		}
		a.Leave(again)
		knock("192.0.2.1", http.StatusTooManyRequests)
		if rate, many := testutil.ToFloat64(a.o.Refused.WithLabelValues("address_rate")), testutil.ToFloat64(a.o.Refused.WithLabelValues("address_connections")); rate != 1 || many != 1 {
			t.Errorf("%v are refused for the rate and %v for the number, want one each", rate, many)
		}
	})
}

// TestAskNobody: who cannot be asked about is refused, and told whether to come again.
func TestAskNobody(t *testing.T) {
	a := testAdmission()
	for token, want := range map[string]int{
		"": wire.CloseUnauthorized, strings.Repeat("x", auth.MaxTokenBytes+1): wire.CloseUnauthorized, "a": wire.CloseOverloaded,
	} {
		if _, refused := a.ask(t.Context(), token, Stranger{}); refused == nil || refused.Code != want {
			t.Errorf("a token of %d bytes: %+v, want %d", len(token), refused, want)
		}
	}
	if _, refused := a.redeem(t.Context(), "short"); refused == nil || refused.Code != wire.CloseUnauthorized {
		t.Errorf("a ticket that is none: %+v", refused)
	}
}
