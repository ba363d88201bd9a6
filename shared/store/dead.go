package store

import (
	"context"
	"fmt"
	"time"
)

const (
	// deadKept bounds the stream of dead letters, in entries.
	deadKept = 10_000
	// deadMarkTTL is how long a repeat of a step is kept from adding the same dead
	// letter again.
	deadMarkTTL = 24 * time.Hour
	// deadArgs bounds a dead letter's fields and values: Lua unpacks at most 8,000.
	deadArgs = 4000
)

// DeadLetter is an entry that cannot be processed.
type DeadLetter struct {
	Entry
	Reason string
}

// Bury adds dead letters, each entry once. Repeatable.
func (s *Store) Bury(ctx context.Context, letters []DeadLetter) error {
	calls := make([]call, len(letters))
	for i, l := range letters {
		stream := s.keys.events(l.Partition)
		args := []any{deadMarkTTL.Milliseconds(), deadKept,
			"reason", l.Reason, "stream", stream, "entry", l.ID.String()}
		for name, value := range l.Fields {
			if len(args) > deadArgs {
				args = append(args, "truncated", "1")
				break
			}
			args = append(args, "f:"+name, value)
		}
		calls[i] = call{[]string{s.keys.deadMark(stream, l.ID), s.keys.dead()}, args}
	}
	if _, err := runAll(ctx, s.rdb, dead, calls); err != nil {
		return fmt.Errorf("cannot add dead letters: %w", err)
	}
	return nil
}
