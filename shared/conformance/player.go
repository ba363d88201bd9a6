package conformance

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/shared/wire"
)

const (
	patience = 15 * time.Second       // for whatever the client has to do, if the Server says nothing else
	goodbye  = time.Second            // for its answer to a close frame
	quiet    = 300 * time.Millisecond // at the end: nothing more is reported
)

// player plays one script.
type player struct {
	patience time.Duration
	conns    chan *peer // that come
	done     chan struct{}
	c        *peer // the present one
	ask      *wire.ClientFrame

	lose     bool   // the next publish is not answered
	lost     string // the key of the one that was not
	repeated bool   // it has come again

	reports []string        // data of what was published, in order
	known   map[string]bool // idempotency keys
}

func (p *player) play(ctx context.Context, script Script) error {
	for i, step := range script.Steps {
		if err := p.step(ctx, step); err != nil {
			text, _ := json.Marshal(step)
			return fmt.Errorf("step %d, %s: %w", i+1, text, err)
		}
	}
	return p.stays(ctx)
}

func (p *player) step(ctx context.Context, s Step) error {
	switch {
	case s.Connect != nil:
		return p.connect(ctx, s.Connect)
	case s.Ask != nil:
		return p.again(ctx, s.Ask)
	case s.Event != nil:
		p.c.send(s.Event.frame("event"))
	case s.Skip != nil:
		p.c.send(s.Skip.frame("skip"))
	case s.Frame != nil:
		p.c.send(s.Frame)
	case s.Reports != nil:
		return p.reported(ctx, s.Reports)
	case s.Lose:
		p.lose = true
		return p.await(ctx, "publish", func() bool { return !p.lose })
	case s.Again:
		return p.await(ctx, "publish what had no answer once more, with the same id", func() bool { return p.repeated })
	case s.Close != 0:
		p.c.close(s.Close)
		p.c = nil
	case s.Cut:
		p.leave()
	case s.AwayMs != 0:
		return p.away(ctx, time.Duration(s.AwayMs)*time.Millisecond)
	default:
		return errors.New("the script has a step that is none")
	}
	return nil
}

func (p *player) leave() {
	if p.c != nil {
		p.c.cut()
	}
	p.c = nil
}

// frame is the event as a frame.
func (e *Event) frame(kind string) map[string]any {
	f := map[string]any{"type": kind, "to": Target}
	if e.ID != "" {
		f["id"], f["prev"] = e.ID, cmp.Or(e.Prev, "0")
	}
	if kind == "event" {
		f["event"], f["data"] = wire.DefaultName, map[string]int{"n": e.N}
	}
	return f
}

// connect waits for a connection that asks for the target.
func (p *player) connect(ctx context.Context, want *Ask) error {
	if p.c != nil {
		return errors.New("the script connects twice")
	}
	select {
	case p.c = <-p.conns:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(p.patience):
		return fmt.Errorf("in %v it did not connect", p.patience)
	}
	p.ask = nil
	p.c.tell(wire.Welcome{
		Conn: "kit", Server: "kit", User: "kit", PingMs: 25_000, Limits: wire.Limits{MaxData: 1 << 15, MaxMessage: maxMessage, MaxTargets: 10},
	})
	if at := p.c.at; at != nil {
		return p.answer(want, "", *at)
	}
	return p.again(ctx, want)
}

// again waits until the target is asked for on the present connection.
func (p *player) again(ctx context.Context, want *Ask) error {
	if err := p.await(ctx, "ask for "+Target, func() bool { return p.ask != nil }); err != nil {
		return err
	}
	f := p.ask
	p.ask = nil
	at := f.After
	if f.Type == "connect" {
		at = f.Resume.Positions[Target]
	}
	return p.answer(want, f.Ref, at)
}

func (p *player) answer(want *Ask, ref, at string) error {
	if at != want.At {
		return fmt.Errorf("it asked for what comes after %q, not after %q", at, want.At)
	}
	position, err := wire.ParseID(cmp.Or(want.Position, want.At, "0"))
	if err != nil {
		return fmt.Errorf("the script: %w", err)
	}
	if want.Gap != "" {
		after, _ := wire.ParseID(cmp.Or(want.At, "0"))
		p.c.tell(wire.Gap{To: Target, After: after, Oldest: position.Next(), Position: position, Reason: want.Gap})
	}
	p.c.tell(wire.Subscribed{Ref: ref, To: Target, Position: position, Recovered: want.Gap == ""})
	return nil
}

// await takes what the client sends until it is reached.
func (p *player) await(ctx context.Context, what string, reached func() bool) error {
	limit := time.After(p.patience)
	for !reached() {
		if p.c == nil {
			return errors.New("the script waits without a connection")
		}
		select {
		case f := <-p.c.frames:
			p.take(f)
		case err := <-p.c.bad:
			return err
		case <-p.c.over:
			return errors.New("it left before it did " + what)
		case <-p.conns:
			return errors.New("it opened a second connection beside the first one")
		case <-limit:
			return fmt.Errorf("in %v it did not %s", p.patience, what)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// take does what any gateway would.
func (p *player) take(f wire.ClientFrame) {
	switch f.Type {
	case "connect":
		if _, ok := f.Resume.Positions[Target]; ok {
			p.ask = &f
		}
	case "subscribe":
		if f.To == Target {
			p.ask = &f
		} else {
			p.c.tell(wire.Subscribed{Ref: f.Ref, To: f.To, Recovered: true})
		}
	case "unsubscribe":
		p.c.tell(wire.Unsubscribed{Ref: f.Ref, To: f.To})
	case "ping":
		p.c.tell(wire.Pong{})
	case "publish":
		p.publish(f)
	}
}

// publish notes a report. One with a key that was there is the same one.
func (p *player) publish(f wire.ClientFrame) {
	var data bytes.Buffer
	_ = json.Compact(&data, f.Data) // it was parsed
	again := f.ID != "" && p.known[f.ID]
	if !again {
		p.reports = append(p.reports, data.String())
	}
	p.known[f.ID] = true
	p.repeated = p.repeated || (again && f.ID == p.lost)
	if p.lose {
		p.lose, p.lost = false, f.ID
		return
	}
	p.c.tell(wire.Published{Ref: f.Ref, To: f.To, ID: wire.ID{Ms: uint64(len(p.reports))}, Duplicate: again})
}

// reported waits until these reports have come, and stops at the first other one.
func (p *player) reported(ctx context.Context, reports Reports) error {
	want, err := reports.data()
	if err != nil {
		return err
	}
	wrong := func() bool { return !slices.Equal(p.reports, want[:min(len(want), len(p.reports))]) }
	err = p.await(ctx, "report "+strings.Join(want, " "), func() bool { return len(p.reports) >= len(want) || wrong() })
	if len(p.reports) > len(want) || wrong() {
		return fmt.Errorf("it reported %s", strings.Join(p.reports, " "))
	}
	if err != nil {
		return fmt.Errorf("%w; it reported %s", err, strings.Join(p.reports, " "))
	}
	return nil
}

// away expects that the client does not come for a time.
func (p *player) away(ctx context.Context, d time.Duration) error {
	start := time.Now()
	select {
	case c := <-p.conns:
		c.cut()
		return fmt.Errorf("it came back after %d ms", time.Since(start).Milliseconds())
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stays waits a little at the end, in which nothing more may be reported.
func (p *player) stays(ctx context.Context) error {
	if p.c == nil {
		return nil
	}
	said := len(p.reports)
	end := time.Now().Add(quiet)
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	err := p.await(ctx, "stay", func() bool { return len(p.reports) > said })
	switch {
	case len(p.reports) > said:
		return fmt.Errorf("at the end it reported one too much: %s", p.reports[said])
	case errors.Is(err, context.DeadlineExceeded):
		return nil
	}
	return err
}
