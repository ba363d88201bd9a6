package client

import (
	"context"
	"time"
)

// itemOverhead is what an item counts besides its data, in bytes.
const itemOverhead = 200

// item is something that waits for the goroutine of the handlers.
type item struct {
	s     *Subscription
	life  int    // of s, when it came: what was cleared meanwhile is not handled
	event *Event // of an event
	gap   *Gap   // of a gap
	to    position
	got   bool // to was reached by an event, so that it may be acknowledged
	size  int
}

// queue holds what waits for handlers, in the order in which it came. It has at most `most` bytes, or one item.
type queue struct {
	most  int
	bytes int
	items []item // from head on
	head  int
	full  map[*Subscription]struct{} // had no room: to be asked for when there is some
}

// hasRoom reports whether size bytes of s can wait. A target may use as much as it leaves to the others.
func (q *queue) hasRoom(s *Subscription, size int) bool {
	if q.bytes == 0 {
		return true
	}
	return q.bytes+size <= q.most && (s.waiting == 0 || s.waiting+size <= q.most-q.bytes)
}

func (q *queue) push(i item) {
	q.items = append(q.items, i)
	q.bytes += i.size
	i.s.waiting += i.size
}

// peek is the next item to be handled; it stays until pop.
func (q *queue) peek() (item, bool) {
	for q.head < len(q.items) {
		i := q.items[q.head]
		if i.life == i.s.life {
			return i, true
		}
		q.pop()
	}
	return item{}, false
}

func (q *queue) pop() {
	i := q.items[q.head]
	q.items[q.head] = item{}
	q.head++
	q.bytes -= i.size
	i.s.waiting -= i.size
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head > 1000 && q.head > len(q.items)/2: // so that the slice does not grow for ever
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
}

// roomFor takes those out of full whose turn it is to be asked for.
func (q *queue) roomFor() (ready []*Subscription) {
	if q.bytes > q.most/2 {
		return nil
	}
	for s := range q.full {
		if s.waiting == 0 {
			delete(q.full, s)
			ready = append(ready, s)
		}
	}
	return ready
}

// handle calls the handlers, one event after the other, until ctx ends.
func (c *Client) handle(ctx context.Context) {
	for ctx.Err() == nil {
		c.mu.Lock()
		i, ok := c.queue.peek()
		ready := c.queue.roomFor() // also after items that were cleared
		for _, s := range ready {
			if s.full {
				c.ask(s, time.Now())
			}
		}
		c.mu.Unlock()
		if !ok {
			select {
			case <-c.handlers:
			case <-c.saveDue():
			case <-ctx.Done():
			}
			c.save(ctx)
			continue
		}
		if !c.call(ctx, i) {
			return
		}
		c.locked(func() {
			if i.life == i.s.life {
				c.queue.pop()
				if i.to.known {
					c.moved(i.s, i.to.id, i.got)
				}
			}
		})
		c.save(ctx)
	}
}

// call calls the handlers of an item. It reports false if they were interrupted by the end: then it is not handled.
func (c *Client) call(ctx context.Context, i item) bool {
	var errs [2]error
	switch {
	case i.event != nil:
		errs[0] = i.s.handler(ctx, i.event)
	case i.gap != nil:
		if c.o.OnGap != nil {
			errs[0] = c.o.OnGap(ctx, i.gap)
		}
		if i.s.onGap != nil {
			errs[1] = i.s.onGap(ctx, i.gap)
		}
	}
	for _, err := range errs {
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return false
		}
		c.o.OnError(&HandlerError{To: i.s.to, Event: i.event, Err: err})
	}
	return true
}
