package functions

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"sluice/shared/wire"
)

// Grant is what a function answers who is asked who a client is: a user, or Close.
type Grant struct {
	User      string          `json:"user,omitempty"`
	Claims    json.RawMessage `json:"claims,omitempty"` // the content of a token's claim `sluice`
	Exp       json.RawMessage `json:"exp,omitempty"`    // Unix seconds
	State     json.RawMessage `json:"state,omitempty"`  // with which the connection begins
	Subscribe []string        `json:"subscribe,omitempty"`
	Close     *Close          `json:"close,omitempty"`
}

func parseGrant(body []byte) (*Grant, error) {
	g := &Grant{}
	if err := parseObject(body, g); err != nil {
		return nil, err
	}
	if len(g.State) > maxState || len(g.Subscribe) > maxItems {
		return nil, fmt.Errorf("state has more than %d bytes, or subscribe more than %d items", maxState, maxItems)
	}
	return g, nil
}

// connectData is what a function is told of a client.
type connectData struct {
	Token     string `json:"token"`
	Query     string `json:"query"`
	Origin    string `json:"origin"`
	Device    string `json:"device"`
	Transport string `json:"transport"`
	Address   string `json:"address"`
	Gateway   string `json:"gateway"`
}

// Connect asks the function who a client is, once. It has slots of its own: clients that connect do not wait for calls, nor
// calls for them; and no breaker, which strangers could hold open for everybody.
func (c *Caller) Connect(ctx context.Context, of *wire.Connect) (*Grant, error) {
	url, ok := c.routes.find(wire.ConnectKind, "")
	if !ok {
		return nil, ErrNoFunction
	}
	select {
	case c.connects <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-c.connects }()
	trace := wire.NewTrace()
	body, err := json.Marshal(cloudEvent[connectData]{
		SpecVersion: "1.0", ID: of.ID(), Source: c.source, Type: typePrefix + wire.ConnectKind, Trace: trace,
		Time: timeText(time.Now()), ContentType: "application/json",
		Data: connectData{of.Token, of.Query, of.Origin, of.Device, of.Transport, of.Address, of.Server},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot write the event: %w", err)
	}
	out, text := c.send(ctx, url, of.ID(), trace, body)
	if out.Err != nil {
		return nil, out.Err
	}
	return parseGrant(text)
}
