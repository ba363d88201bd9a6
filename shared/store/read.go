package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// Entry is one entry of an ingress stream.
type Entry struct {
	Partition int // or Intake
	ID        wire.ID
	Fields    map[string]any // values are strings
}

// Size is how much an entry holds, in bytes, its bookkeeping included.
func (e *Entry) Size() int {
	const bookkeeping = 128 // for the entry, and about so much for its fields' headers
	n := bookkeeping
	for name, v := range e.Fields {
		text, _ := v.(string)
		n += len(name) + len(text)
	}
	return n
}

// Read says what a lane reads next, and by which right.
type Read struct {
	Generation, Consumer string
	Partitions           []int    // on a Cluster one
	Epochs               []uint64 // of the terms over these partitions
	From                 []int    // those of them that are read; nil: all
	Count                int      // entries per partition at most; 0: only the right to write, nothing is read
	Block                time.Duration
}

// read is XREADGROUP in a pipeline; its answer is taken apart by entries.
func (l *Lane) read(ctx context.Context, pipe redis.Pipeliner, r Read) *redis.XStreamSliceCmd {
	if r.From == nil {
		r.From = r.Partitions
	}
	if of := &l.readOf; l.readWords == nil || of.Generation != r.Generation || of.Consumer != r.Consumer ||
		of.Count != r.Count || of.Block != r.Block || !slices.Equal(of.From, r.From) {
		l.readOf = r
		of.From, of.Partitions, of.Epochs = slices.Clone(r.From), nil, nil
		l.readWords = l.s.readWords(r)
	}
	cmd := redis.NewXStreamSliceCmd(ctx, l.readWords...)
	_ = pipe.Process(ctx, cmd) // Exec says what failed
	return cmd
}

func (s *Store) readWords(r Read) []any {
	block := r.Block
	if s.maxBlock > 0 { // else the link has no time limit
		block = min(block, s.maxBlock)
	}
	words := []any{"xreadgroup", "group", groupPrefix + r.Generation, r.Consumer, "count", r.Count}
	if block >= time.Millisecond { // 0 would be for ever
		words = append(words, "block", block.Milliseconds())
	}
	words = append(words, "streams")
	for _, p := range r.From {
		words = append(words, s.keys.events(p))
	}
	for range r.From {
		words = append(words, ">")
	}
	return words
}

func (s *Store) entries(cmd *redis.XStreamSliceCmd, r Read, buf []Entry) ([]Entry, error) {
	streams, err := cmd.Result()
	switch {
	case errors.Is(err, redis.Nil):
		return buf, nil
	case isNoGroup(err):
		return buf, ErrFenced
	case err != nil:
		return buf, fmt.Errorf("cannot read ingress streams: %w", err)
	}
	for _, st := range streams {
		p := Intake
		for _, candidate := range r.Partitions {
			if s.keys.events(candidate) == st.Stream {
				p = candidate
			}
		}
		for _, m := range st.Messages {
			id, err := parseRedisID(m.ID)
			if err != nil {
				return buf, fmt.Errorf("stream %s gave the id %q: %w", st.Stream, m.ID, err)
			}
			buf = append(buf, Entry{Partition: p, ID: id, Fields: m.Values})
		}
	}
	return buf, nil
}
