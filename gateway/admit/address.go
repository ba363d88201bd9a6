package admit

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/gateway/listen"
)

// Visit is a client's place among those of its address, from the handshake to the end of
// the connection.
type Visit struct {
	Client  netip.Addr
	Address *limits.Party
	entry   *listen.Conn // nil once the client is known
	known   bool
}

// OnEvict calls evict when a client that is not known has to make room. false: it has already.
func (v *Visit) OnEvict(evict func()) bool { return v.entry.OnEvict(evict) }

// Known says that the client has shown who it is: it counts no more among those that have not.
func (v *Visit) Known() {
	if v.entry.Known() {
		v.entry, v.known = nil, true
	}
}

// Knock counts a handshake and its connection, or answers that its address has too many.
// Leave must follow if ok.
func (a *Admission) Knock(w http.ResponseWriter, r *http.Request) (v *Visit, ok bool) {
	v = &Visit{entry: listen.Of(r)}
	v.Client = v.entry.Client(r)
	share := listen.Share(v.Client)
	if wait := a.addresses.Handshake(share, a.o.HandshakeRate); wait > 0 {
		a.turnAway(w, v.Client, "address_rate", "too many handshakes from this address", wait)
		return nil, false
	}
	if v.Address, ok = a.addresses.Enter(share, a.o.AddressConnections); !ok {
		a.turnAway(w, v.Client, "address_connections", "too many connections from this address", limits.BurstTime)
	}
	return v, ok
}

// PerAddress counts requests as handshakes of their address, so that those of strangers are limited, too.
func (a *Admission) PerAddress(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		client := listen.Of(r).Client(r)
		if wait := a.addresses.Handshake(listen.Share(client), a.o.HandshakeRate); wait > 0 {
			a.turnAway(w, client, "address_rate", "too many requests from this address", wait)
			return
		}
		next(w, r)
	}
}

// StrangerWaits counts a request without a token as PerAddress does, and returns how long it has to wait. One with a token
// is its user's, and is counted once that was refused (CountStranger).
func (a *Admission) StrangerWaits(r *http.Request) (wait time.Duration) {
	client := listen.Of(r).Client(r)
	count := a.addresses.Handshake
	if _, found := auth.Bearer(r); found {
		count = a.addresses.MayShake
	}
	if wait = count(listen.Share(client), a.o.HandshakeRate); wait > 0 {
		a.Count("address_rate", http.StatusTooManyRequests, client)
	}
	return wait
}

// CountStranger counts a request that was refused although it has a token: one without was counted already.
func (a *Admission) CountStranger(r *http.Request) {
	if _, found := auth.Bearer(r); !found {
		return
	}
	_ = a.addresses.Handshake(listen.Share(listen.Of(r).Client(r)), a.o.HandshakeRate) // the next one waits
}

// turnAway answers before the upgrade: it must cost little.
func (a *Admission) turnAway(w http.ResponseWriter, client netip.Addr, reason, text string, wait time.Duration) {
	a.Count(reason, http.StatusTooManyRequests, client)
	w.Header().Set("Connection", "close") // else the next requests are there already
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	http.Error(w, text, http.StatusTooManyRequests)
}

// Leave ends a visit whose socket is gone.
func (a *Admission) Leave(v *Visit) {
	if v != nil {
		a.addresses.Leave(v.Address)
		if v.known {
			a.o.Gone()
		}
		v.entry.Gone()
	}
}
