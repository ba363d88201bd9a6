package ops

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
)

// guard says who may see more of a process than whether it lives. With a token: who
// brings it. Without one: programs of this machine, if the address is a loopback one.
type guard struct {
	token    [sha256.Size]byte // its hash: two of them are compared in the same time whatever they are
	hasToken bool
	loopback bool
}

func newGuard(token string, addr net.Addr) guard {
	tcp, ok := addr.(*net.TCPAddr)
	return guard{token: sha256.Sum256([]byte(token)), hasToken: token != "", loopback: ok && tcp.IP.IsLoopback()}
}

// closed reports whether nobody may.
func (g guard) closed() bool { return !g.hasToken && !g.loopback }

func (g guard) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case g.hasToken && !g.brings(r):
			w.Header().Set("WWW-Authenticate", `Bearer realm="sluice"`)
			http.Error(w, "send Authorization: Bearer with the SLUICE_ADMIN_TOKEN of this process", http.StatusUnauthorized)
		case g.closed():
			http.Error(w, "not served: this address is not a loopback one, so SLUICE_ADMIN_TOKEN must be set", http.StatusForbidden)
		case !g.hasToken && !fromHere(r):
			http.Error(w, "not served under this name: ask for localhost, or set SLUICE_ADMIN_TOKEN", http.StatusForbidden)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

func (g guard) brings(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(strings.Trim(token, " ")))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1
}

// fromHere reports whether a request asks for this machine by a name that is nobody else's:
// a web page whose own name was made to resolve to 127.0.0.1 (DNS rebinding) asks for that name.
func fromHere(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.EqualFold(host, "localhost") || net.ParseIP(strings.Trim(host, "[]")) != nil
}
