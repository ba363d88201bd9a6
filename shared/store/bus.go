package store

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Subscription is a gateway's ear on its channel. Pub/Sub forgets: what arrives
// while nobody listens is gone, so a new subscription must be followed by a look
// into the histories.
type Subscription struct {
	ps *redis.PubSub
}

// Subscribe makes a subscription. The client underneath subscribes again by
// itself after an error of the link.
func (s *Store) Subscribe(server string) *Subscription {
	return &Subscription{s.rdb.Subscribe(context.Background(), s.keys.channel(server))}
}

// Receive waits for the next message. subscribed is true when the server has
// confirmed a subscription, the first one or a new one; then there is no payload.
// After an error the caller calls again, after a pause. The end of ctx does not wake
// a Receive that waits, Close does; after ctx's deadline the connection is a new one.
func (b *Subscription) Receive(ctx context.Context) (payload string, subscribed bool, err error) {
	for {
		msg, err := b.ps.ReceiveTimeout(ctx, 0)
		if err != nil {
			return "", false, fmt.Errorf("cannot receive from the gateway's channel: %w", err)
		}
		switch m := msg.(type) {
		case *redis.Message:
			return m.Payload, false, nil
		case *redis.Subscription:
			if m.Kind == "subscribe" {
				return "", true, nil
			}
		}
	}
}

// Close ends a Receive that waits.
func (b *Subscription) Close() error { return b.ps.Close() }

// Send publishes messages to gateways, in one pipeline.
func (s *Store) Send(ctx context.Context, out []Outgoing) error {
	if len(out) == 0 {
		return nil
	}
	pipe := s.rdb.Pipeline()
	for _, o := range out {
		cmd := redis.NewIntCmd(ctx, "publish", s.keys.channel(o.Server), o.Payload)
		// The client takes PUBLISH for keyless and would go round all nodes of a Cluster,
		// the one that just died too. The channel's own node is the subscription's.
		cmd.SetFirstKeyPos(1)
		_ = pipe.Process(ctx, cmd)
	}
	cmds, err := exec(ctx, pipe)
	if err := firstFailure(cmds, err); err != nil {
		return fmt.Errorf("cannot publish: %w", err)
	}
	return nil
}
