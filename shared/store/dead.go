package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

const (
	// deadKept and DeadBytes bound the stream of dead letters, and that of those that wait.
	deadKept = 10_000
	// DeadBytes is in bytes of Redis's memory.
	DeadBytes = 128 << 20
	// deadMarkTTL is how long a repeat of a step is kept from adding the same dead
	// letter again.
	deadMarkTTL = 10 * time.Minute
	// deadArgs bounds a dead letter's fields and values: Lua unpacks at most 8,000.
	deadArgs = 4000
	// buryBytes bounds what goes out in one pipeline.
	buryBytes = 4 << 20
)

// DeadLetter is an entry that cannot be processed.
type DeadLetter struct {
	Entry
	Reason string
	Claim  *Claim // that the entry holds, if any: it is given up
}

// Bury adds dead letters, each entry once, in pipelines of about 4 MiB. Where the key of the
// dead letters holds another type they wait beside it, until MendDead. Repeatable.
func (s *Store) Bury(ctx context.Context, letters []DeadLetter) error {
	for len(letters) > 0 {
		n, size := 0, 0
		for n < len(letters) && (n == 0 || size+letters[n].Size() <= buryBytes) {
			size += letters[n].Size()
			n++
		}
		if err := s.bury(ctx, letters[:n]); err != nil {
			return err
		}
		letters = letters[n:]
	}
	return nil
}

func (s *Store) bury(ctx context.Context, letters []DeadLetter) error {
	calls := make([]call, len(letters))
	var claims []call
	for i, l := range letters {
		stream := s.keys.events(l.Partition)
		args := []any{deadMarkTTL.Milliseconds(),
			"reason", l.Reason, "stream", stream, "entry", l.ID.String()}
		for _, name := range wire.Fields { // these first: without them nobody could put it back
			if value, ok := l.Fields[name]; ok {
				args = append(args, "f:"+name, value)
			}
		}
		for name, value := range l.Fields {
			if slices.Contains(wire.Fields, name) {
				continue
			}
			if len(args) > deadArgs {
				args = append(args, "truncated", "1")
				break
			}
			args = append(args, "f:"+name, value)
		}
		calls[i] = call{[]string{s.keys.deadMark(stream, l.ID), s.keys.dead(), s.keys.deadWaiting()}, args}
		if c := l.Claim; c != nil {
			claims = append(claims, call{[]string{s.keys.idemOf(c)}, []any{c.ID.String()}})
		}
	}
	if _, err := runAll(ctx, s.rdb, unclaim, claims); err != nil {
		return fmt.Errorf("cannot give up the idempotency keys of dead letters: %w", err)
	}
	if _, err := runAll(ctx, s.rdb, dead, calls); err != nil {
		return fmt.Errorf("cannot add dead letters: %w", err)
	}
	return nil
}

// MendDead brings dead letters that waited to where they belong. A *BadKey says that the
// key of the dead letters holds another type still.
func (s *Store) MendDead(ctx context.Context) (moved int, err error) {
	const piece = 10 // of up to a batch's size each
	for {
		cmds, err := runAll(ctx, s.rdb, undelay, []call{{[]string{s.keys.dead(), s.keys.deadWaiting()}, []any{piece}}})
		if err != nil {
			return moved, fmt.Errorf("cannot move waiting dead letters: %w", err)
		}
		res, err := cmds[0].Slice()
		if err != nil || len(res) != 2 {
			return moved, fmt.Errorf("cannot move waiting dead letters: the script answered %v: %w", res, err)
		}
		if holds, _ := res[1].(string); holds != "none" && holds != "stream" {
			return moved, &BadKey{s.keys.dead(), "it holds a " + holds + "; dead letters wait in " + s.keys.deadWaiting() + " until it is deleted"}
		}
		n, _ := res[0].(int64)
		if moved += int(n); n < piece {
			return moved, nil
		}
	}
}

// TrimDead lets the oldest dead letters go where there are too many, or too many bytes (DeadBytes) of them, and tells how many. The
// newest one always stays. Bury does not do it.
func (s *Store) TrimDead(ctx context.Context, bytes int) (gone int, err error) {
	cmds, err := runAll(ctx, s.rdb, trimDead, []call{{[]string{s.keys.dead(), s.keys.deadWaiting()}, []any{deadKept, bytes}}})
	if err != nil {
		return 0, fmt.Errorf("cannot trim dead letters: %w", err)
	}
	return cmds[0].Int()
}

// Buried is a dead letter as it lies in Redis.
type Buried struct {
	ID     string // of the dead letter
	Reason string
	Stream string // where the entry was
	Entry  string // its id there
	Fields map[string]string
}

// ErrNoDeadLetter says that there is no dead letter of this id.
var ErrNoDeadLetter = errors.New("no such dead letter")

// DeadLetters reads up to count dead letters, oldest first, from the one after the
// given id on; "" begins with the oldest.
func (s *Store) DeadLetters(ctx context.Context, after string, count int) ([]Buried, error) {
	from := "-"
	if after != "" {
		from = "(" + after
	}
	messages, err := s.rdb.XRangeN(ctx, s.keys.dead(), from, "+", int64(count)).Result()
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", s.keys.dead(), err)
	}
	letters := make([]Buried, len(messages))
	for i, m := range messages {
		letters[i] = buried(m)
	}
	return letters, nil
}

func buried(m redis.XMessage) Buried {
	b := Buried{ID: m.ID, Fields: make(map[string]string)}
	for name, value := range m.Values {
		text, _ := value.(string)
		switch name {
		case "reason":
			b.Reason = text
		case "stream":
			b.Stream = text
		case "entry":
			b.Entry = text
		default:
			if field, ok := strings.CutPrefix(name, "f:"); ok {
				b.Fields[field] = text
			}
		}
	}
	return b
}

// Requeue appends a dead letter to the stream that it came from, or, if that was the
// wrong partition's, to the right one, and deletes it. The event keeps its idempotency
// key, or gets one of this dead letter: a requeue whose outcome was not known can be
// done again within the time that keys are kept.
func (s *Store) Requeue(ctx context.Context, id string) error {
	messages, err := s.rdb.XRange(ctx, s.keys.dead(), id, id).Result()
	if err != nil {
		return fmt.Errorf("cannot read dead letter %s: %w", id, err)
	}
	if len(messages) == 0 || messages[0].ID != id { // "5" would stand for all of 5-0, 5-1, ...
		return fmt.Errorf("%w: %s", ErrNoDeadLetter, id)
	}
	b := buried(messages[0])
	if !s.isIngress(b.Stream) {
		return fmt.Errorf("dead letter %s came from %q, which is not an ingress stream of this installation", id, b.Stream)
	}
	stream := b.Stream
	if b.Reason == wire.ReasonWrongPartition {
		stream = s.keys.events(s.Partition(b.Fields["to"]))
	}
	if b.Fields["id"] == "" {
		b.Fields["id"] = "requeued:" + id
	}
	fields := make([]string, 0, 2*len(wire.Fields))
	for _, name := range s.fieldsOf(stream) {
		if value, ok := b.Fields[name]; ok && name != "reply" { // who waited has gone
			fields = append(fields, name, value)
		}
	}
	if err := s.rdb.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: fields}).Err(); err != nil {
		return fmt.Errorf("cannot append dead letter %s to %s: %w", id, stream, err)
	}
	return s.DropDead(ctx, id)
}

func (s *Store) isIngress(stream string) bool {
	return stream == s.keys.intake() || slices.Contains(s.keys.streams, stream)
}

// fieldsOf are the names of what an entry of a stream may hold.
func (s *Store) fieldsOf(stream string) []string {
	if slices.Contains(s.keys.streams[s.cfg.Partitions:], stream) {
		return wire.CallFields
	}
	return wire.Fields
}

// DropDead deletes a dead letter.
func (s *Store) DropDead(ctx context.Context, id string) error {
	n, err := s.rdb.XDel(ctx, s.keys.dead(), id).Result()
	if err != nil {
		return fmt.Errorf("cannot delete dead letter %s: %w", id, err)
	}
	if n == 0 {
		return fmt.Errorf("%w: %s", ErrNoDeadLetter, id)
	}
	return nil
}
