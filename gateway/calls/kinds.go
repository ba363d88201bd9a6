package calls

import (
	"slices"
	"strings"

	"sluice/shared/pattern"
	"sluice/shared/store"
	"sluice/shared/wire"
)

// kinds is what functions take.
type kinds struct {
	unknown                 bool // the gateway has not yet been able to ask
	connected, disconnected bool
	connect                 bool
	presence                store.Presence
	calls                   []string // patterns
}

func parseKinds(all []string) *kinds {
	k := &kinds{presence: store.PresenceOf(all)}
	for _, one := range all {
		kind, pattern, patterned := strings.Cut(one, ":")
		switch {
		case kind == wire.ConnectedKind:
			k.connected = true
		case kind == wire.DisconnectedKind:
			k.disconnected = true
		case kind == wire.ConnectKind:
			k.connect = true
		case kind == wire.CallKind && !patterned:
			k.calls = append(k.calls, "*")
		case kind == wire.CallKind:
			k.calls = append(k.calls, pattern)
		}
	}
	return k
}

// tracks reports whether the begin and the end of every connection count for functions.
func (k *kinds) tracks() bool {
	return k.connected || k.disconnected || k.presence != store.NoPresence
}

func (k *kinds) call(name string) bool {
	return slices.ContainsFunc(k.calls, func(p string) bool { return pattern.Match(p, name) })
}

// Known reports whether Redis could be asked what functions take.
func (x *Calls) Known() bool { return !x.takes.Load().unknown }

// Tracks reports whether the begin and the end of every connection count for functions.
func (x *Calls) Tracks() bool { return x.takes.Load().tracks() }

// Connects reports whether a function says who clients are.
func (x *Calls) Connects() bool { return x.takes.Load().connect }
