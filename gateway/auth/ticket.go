package auth

import (
	"encoding/json"
	"net/http"
	"time"

	"sluice/gateway/query"
)

// ticket is an Identity as it is kept for a ticket: what its token said, or a function of it, and when that ends.
type ticket struct {
	User       string   `json:"user"`
	Exp        int64    `json:"exp,omitempty"` // Unix seconds, 0: it has no end
	Subscribe  []string `json:"subscribe,omitempty"`
	Publish    []string `json:"publish,omitempty"`
	Manage     []string `json:"manage,omitempty"`
	Call       []string `json:"call,omitempty"`
	Everything bool     `json:"everything,omitempty"`
	Granted    *Granted `json:"granted,omitempty"`
}

// TicketOf returns the ticket of a handshake, that of the query. Like a token it must not be logged.
func TicketOf(r *http.Request) (ticket string, found bool) {
	return query.Get(r.URL.RawQuery, "ticket")
}

// Ticket is what is kept for a ticket, so that Redeem gives the Identity back.
func (id Identity) Ticket() []byte {
	t := ticket{User: id.User, Subscribe: id.subscribe, Publish: id.publish, Manage: id.manage, Call: id.call, Everything: id.everything, Granted: id.Granted}
	if !id.Expires.IsZero() {
		t.Exp = id.Expires.Unix()
	}
	text, err := json.Marshal(t)
	if err != nil {
		panic("auth: plain fields cannot fail to marshal: " + err.Error())
	}
	return text
}

// Redeem returns the Identity that was kept. Its errors are those of Verify. A ticket of a gateway in dev mode is none for
// others.
func (v *Verifier) Redeem(kept []byte, now time.Time) (Identity, error) {
	var t ticket
	if json.Unmarshal(kept, &t) != nil || !validUser(t.User) || t.Exp < 0 || t.Exp > maxUnixSeconds || t.Everything != (v.config.Mode == ModeDev) {
		return Identity{}, &Error{ReasonTicket}
	}
	id := Identity{User: t.User, Granted: t.Granted, rights: rights{t.Subscribe, t.Publish, t.Manage, t.Call, t.Everything}}
	if t.Exp == 0 && v.config.Mode == ModeJWT {
		return Identity{}, &Error{ReasonTicket}
	}
	if t.Exp != 0 {
		id.Expires = time.Unix(t.Exp, 0)
		if !now.Before(id.Expires.Add(Leeway)) {
			return Identity{}, &Error{ReasonExpired}
		}
	}
	return id, nil
}
