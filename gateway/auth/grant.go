package auth

import (
	"encoding/json"
	"time"
)

// Granted is what a function gives a connection besides who its client is.
type Granted struct {
	State     string   `json:"state,omitempty"`     // JSON; "": none
	Subscribe []string `json:"subscribe,omitempty"` // targets; nobody has checked them yet
}

// Asks reports whether functions say who clients are, and not the token itself.
func (v *Verifier) Asks() bool { return v.config.Mode == ModeFunction }

// Grant reads what a function has said of a client. Its errors are those of Verify: ReasonClaims and ReasonSubject are the function's
// fault.
func (v *Verifier) Grant(said []byte, now time.Time) (Identity, error) {
	var g struct {
		User      string
		State     json.RawMessage
		Subscribe []string
	}
	var raw map[string]json.RawMessage
	if json.Unmarshal(said, &g) != nil || json.Unmarshal(said, &raw) != nil {
		return Identity{}, &Error{ReasonClaims}
	}
	var c claims
	exp, ok := readDate(raw, "exp")
	if claims, there := raw["claims"]; there {
		ok = c.readPatterns(map[string]json.RawMessage{"sluice": claims}) && ok
	}
	switch {
	case !ok:
		return Identity{}, &Error{ReasonClaims}
	case !validUser(g.User):
		return Identity{}, &Error{ReasonSubject}
	}
	id := Identity{User: g.User, rights: c.rights, Granted: &Granted{string(g.State), g.Subscribe}}
	id.subscribe = append(id.subscribe, g.Subscribe...) // names of targets have no asterisk
	if exp != nil {
		id.Expires = exp.Time
		if !now.Before(id.Expires.Add(Leeway)) {
			return Identity{}, &Error{ReasonExpired}
		}
	}
	return id, nil
}
