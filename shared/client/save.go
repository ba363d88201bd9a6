package client

import (
	"context"
	"fmt"
	"time"
)

const (
	savePause = 100 * time.Millisecond // between two saves: events come by thousands a second, and a store is slow
	saveFor   = 10 * time.Second       // for the last one
)

// load reads the positions of the store.
func (c *Client) load(ctx context.Context) error {
	if c.o.Store == nil {
		return nil
	}
	p, err := c.o.Store.Load(ctx)
	if err != nil {
		return fmt.Errorf("client: cannot load positions: %w", err)
	}
	c.mu.Lock()
	defer c.unlock()
	c.user = p.User
	for to, id := range p.At {
		c.positions.set(to, id)
		if s := c.targets[to]; s != nil && !s.seen.known {
			s.seen = position{id, true}
		}
	}
	c.positions.changed = false
	return nil
}

// save writes what has changed, if the last time was long enough ago.
func (c *Client) save(ctx context.Context) {
	if c.o.Store == nil || time.Since(c.saved) < savePause {
		return
	}
	c.mu.Lock()
	if !c.positions.changed {
		c.mu.Unlock()
		return
	}
	p := c.positions.snapshot(c.user)
	c.mu.Unlock()
	err := c.o.Store.Save(ctx, p)
	c.saved = time.Now()
	if err != nil {
		c.locked(func() { c.positions.changed = true }) // it is tried again
		c.o.OnError(fmt.Errorf("client: cannot save positions: %w", err))
	}
}

// saveDue is when there is something to be saved; nil: there is nothing.
func (c *Client) saveDue() <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.o.Store == nil || !c.positions.changed {
		return nil
	}
	return time.After(max(time.Until(c.saved.Add(savePause)), 0))
}
