package torture

import (
	"encoding/json"
	"strconv"
	"time"
)

const (
	mostWaiting = 4               // published and not yet answered
	longestWait = 6 * time.Second // for an answer: it may be lost with a process
)

// publishSome publishes a few events. Those of one connection are a lane.
func (c *recorder) publishSome() {
	for range c.rng.IntN(3) {
		c.mu.Lock()
		c.giveUp(longestWait)
		conn, full := c.conn, len(c.waiting) >= mostWaiting
		old := -1
		if len(c.retries) > 0 && !full && conn != "" {
			old, c.retries = c.retries[0], c.retries[1:]
		}
		c.mu.Unlock()
		if full || conn == "" {
			return
		}
		lane := c.name + " " + conn
		a := Append{To: somewhere(c.rng), Way: Publish, Lane: lane}
		switch {
		case old >= 0:
			first := c.try(old)
			a.N, a.To, a.Key = first.N, first.To, first.Key
		default:
			a.N = c.number()
			switch c.rng.IntN(5) {
			case 0:
				a.Live = true
			case 1, 2:
				a.Key = "key-" + strconv.Itoa(a.N)
			case 3:
				if c.plan.rules.Keys {
					a.To, a.Key = c.key(c.user, a.To, c.rng)
				}
			}
		}
		try := c.begin(a)
		v := map[string]any{"type": "publish", "ref": strconv.Itoa(try), "to": a.To, "data": json.RawMessage(payload(a.N)), "event": nameOf(a.N)}
		if a.Key != "" {
			v["id"] = a.Key
		}
		if a.Live {
			v["retain"] = 0
		}
		c.mu.Lock()
		c.waiting[try] = time.Now()
		c.mu.Unlock()
		c.send(v)
	}
}

// published notes the answer to a publish. c.mu is held.
func (c *recorder) published(m *message) {
	try, err := strconv.Atoi(m.Ref)
	if err != nil {
		c.complain("client %s got published with ref %q", c.name, m.Ref)
		return
	}
	delete(c.waiting, try)
	c.end(try, Acked, m.ID, m.Duplicate)
}

// unpublished takes the refusal of a publish: it may have run all the same. c.mu is held.
func (c *recorder) unpublished(ref string) {
	try, err := strconv.Atoi(ref)
	if err != nil {
		return
	}
	if _, waits := c.waiting[try]; !waits {
		return
	}
	delete(c.waiting, try)
	if a := c.try(try); a.Key != "" {
		c.retries = append(c.retries, try)
	}
}

// giveUp waits no longer for answers that are older; what has a key is published again. c.mu is held.
func (c *recorder) giveUp(older time.Duration) {
	for try, sent := range c.waiting {
		if time.Since(sent) < older {
			continue
		}
		delete(c.waiting, try)
		if a := c.try(try); a.Key != "" {
			c.retries = append(c.retries, try)
		}
	}
}
