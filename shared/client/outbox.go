package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"sluice/shared/wire"
)

const (
	answerFor = 15 * time.Second // an answer that did not come until then may have died with the process that would have given it
	keyFor    = 9 * time.Minute  // the server knows an idempotency key for ten; later it would be a second event
)

// Publication is an event to be published.
type Publication struct {
	To       string
	Data     any    // for json.Marshal; json.RawMessage is passed on as it is
	Event    string // its name; "": message
	Key      string // idempotency key; "": a random one
	LiveOnly bool   // it is not retained
}

// Published is the answer to a publish.
type Published struct {
	To        string
	ID        wire.ID
	Duplicate bool // ID is that of the first event with this key
}

// Pending is a publish that may not have its answer yet.
type Pending struct {
	c    *Client
	ref  string
	to   string // "": it is a call
	text []byte // the frame
	done chan struct{}

	// Guarded by the client's mutex; result and err are for whoever sees done closed.
	first  time.Time // when it was sent at all
	again  time.Time // not before that
	result Published
	reply  json.RawMessage // of a call
	err    error
}

// isCall: it asks a function. All calls are of one lane, that of no target.
func (p *Pending) isCall() bool { return p.to == "" }

// Wait waits for the answer. When ctx ends first the publish is given up: it may be published nevertheless, if it was sent.
func (p *Pending) Wait(ctx context.Context) (Published, error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		p.c.locked(func() {
			p.c.outbox.over(p, Published{}, ctx.Err())
			p.c.wakeWriter() // it is the turn of what waits behind it
		})
		<-p.done
	}
	return p.result, p.err
}

// Publish appends an event, and waits until it is. Over breaks of the connection it is sent again, under the same idempotency
// key, and stays one event. Errors are ErrQueueFull, ErrUnknown, ErrUserChanged, ErrClosed, that of ctx, an *Error of the
// server, or that of json.Marshal.
func (c *Client) Publish(ctx context.Context, p Publication) (Published, error) {
	if err := ctx.Err(); err != nil {
		return Published{}, err
	}
	pending, err := c.Send(p)
	if err != nil {
		return Published{}, err
	}
	return pending.Wait(ctx)
}

// Send is Publish without the wait. Events of one target are published in the order of their Sends.
func (c *Client) Send(p Publication) (*Pending, error) {
	data, err := json.Marshal(p.Data)
	if err != nil {
		return nil, err
	}
	if p.Key == "" {
		p.Key = rand.Text()
	}
	f := outFrame{Type: "publish", To: p.To, Event: p.Event, ID: p.Key, Data: data}
	if p.LiveOnly {
		f.Retain = new(int)
	}
	return c.enqueue(f)
}

// Call asks a function, and waits for its reply, which is nil if it gave none. Calls are made one after the other, in their
// order. After a break of the connection a call is made again under the same random idempotency key, so that the
// function can tell. Errors are those of Publish; an *Error with "unavailable" says that no answer came
// in time, and the function may be at work, or that it failed for good.
func (c *Client) Call(ctx context.Context, name string, data any) (json.RawMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f := outFrame{Type: "call", Name: name, ID: rand.Text()}
	if data != nil {
		text, err := json.Marshal(data)
		if err != nil {
			return nil, err
		}
		f.Data = text
	}
	pending, err := c.enqueue(f)
	if err != nil {
		return nil, err
	}
	if _, err := pending.Wait(ctx); err != nil {
		return nil, err
	}
	return pending.reply, nil
}

// enqueue puts a publish or a call behind those that wait.
func (c *Client) enqueue(f outFrame) (*Pending, error) {
	c.mu.Lock()
	defer c.unlock()
	if c.ended {
		return nil, ErrClosed
	}
	c.refs++
	f.Ref = f.Type[:1] + strconv.Itoa(c.refs)
	text, err := f.encode()
	if err != nil {
		return nil, err
	}
	pending := &Pending{c: c, ref: f.Ref, to: f.To, text: text, done: make(chan struct{})}
	if !c.outbox.add(pending) {
		return nil, fmt.Errorf("%w: %d, %d bytes", ErrQueueFull, len(c.outbox.byRef), c.outbox.bytes)
	}
	c.wakeWriter()
	return pending, nil
}

// outbox holds the publishes and calls that have no answer. Of each target one is under way at a time, and one call, so that a
// repeat cannot come behind a later one.
type outbox struct {
	mostCount, mostBytes int

	bytes int
	byRef map[string]*Pending
	lanes map[string][]*Pending // by target, "" for calls; the first one is under way
}

func (o *outbox) add(p *Pending) bool {
	if len(o.byRef) >= o.mostCount || o.bytes+len(p.text) > o.mostBytes {
		return false
	}
	o.bytes += len(p.text)
	o.byRef[p.ref] = p
	o.lanes[p.to] = append(o.lanes[p.to], p)
	return true
}

// over gives a publish its answer.
func (o *outbox) over(p *Pending, result Published, err error) {
	if o.byRef[p.ref] != p {
		return
	}
	delete(o.byRef, p.ref)
	o.bytes -= len(p.text)
	lane := o.lanes[p.to]
	for i, q := range lane {
		if q == p {
			copy(lane[i:], lane[i+1:])
			lane[len(lane)-1] = nil
			lane = lane[:len(lane)-1]
			break
		}
	}
	if o.lanes[p.to] = lane; len(lane) == 0 {
		delete(o.lanes, p.to)
	}
	p.result, p.err = result, err
	close(p.done)
}

// fail gives all of them this error.
func (o *outbox) fail(err error) {
	for _, p := range o.byRef {
		o.over(p, Published{}, err)
	}
}

// lost: the connection has gone, and what has no answer goes out again on the next one.
func (o *outbox) lost() {
	for _, p := range o.byRef {
		p.again = time.Time{}
	}
}

// due adds the frames that are to be sent now to out. next is when there may be more.
func (o *outbox) due(now time.Time, maxMessage int, out [][]byte, next time.Time) ([][]byte, time.Time) {
	for to := range o.lanes {
		for len(o.lanes[to]) > 0 {
			p := o.lanes[to][0]
			if maxMessage > 0 && len(p.text) > maxMessage { // the server would close the connection
				o.over(p, Published{}, &Error{Code: wire.CodeTooLarge, To: to, Message: fmt.Sprintf("larger than %d bytes", maxMessage)})
				continue
			}
			if !p.first.IsZero() && now.Sub(p.first) > keyFor {
				o.over(p, Published{}, ErrUnknown)
				continue
			}
			if !now.Before(p.again) {
				if p.again = now.Add(answerFor); p.isCall() { // the server says when no answer comes
					p.again = now.Add(keyFor + time.Second)
				}
				if p.first.IsZero() {
					p.first = now
				}
				out = append(out, p.text)
			}
			next = earlier(next, p.again)
			break
		}
	}
	return out, next
}

// earlier is the earlier of two times.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
