package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// Claim is an idempotency key to be claimed by an event.
type Claim struct {
	Partition int
	To, Key   string
	Owner     string  // user whose key it is, "": a backend's
	ID        wire.ID // who claims
	At        uint64  // when it was added, in Unix ms; 0: at the time in its id
	First     wire.ID // result: who has it; ID itself if the claim is its own
	Bad       error   // result: a *BadKey, so that nothing is known of the key, and the claim counts as its own
}

// holders are the events that have a key, by key, the latest last. An event is a repeat
// of one of them if they were added less than the time to live apart: both may have waited
// for a worker, so the time of processing says nothing. An event that is a repeat of
// none, and later than all, has the key from there on. In Redis they stand as `<id>`, or
// `<id>@<ms>` where the id does not say when the event was added, with blanks between.
//
// Earlier holders stay in the key: when a batch is done again, by the next owner too,
// repeats of theirs are told from what is new.
type holders map[string][]holder

type holder struct {
	id wire.ID
	at uint64 // when it was added, in Unix ms
}

func (c *Claim) holder() holder {
	if c.At == 0 {
		return holder{c.ID, c.ID.Ms}
	}
	return holder{c.ID, c.At}
}

func (h holder) String() string {
	if h.at == h.id.Ms {
		return h.id.String()
	}
	return h.id.String() + "@" + strconv.FormatUint(h.at, 10)
}

// claim does the claims in a transaction; the answer to it has one for each.
func (l *Lane) claim(ctx context.Context, pipe redis.Pipeliner, claims []*Claim, keep time.Duration) *redis.Cmd {
	pipe.Do(ctx, "MULTI")
	for _, c := range claims {
		pipe.Do(ctx, "SET", l.s.keys.idemOf(c), c.holder().String(), "NX", "GET", "PX", keep.Milliseconds())
	}
	return pipe.Do(ctx, "EXEC")
}

// mostHolders bounds those that a key names.
const mostHolders = 64

// hold says who has the keys, given what Redis answered to each claim, and returns those
// keys whose holders have changed.
func (s *Store) hold(claims []*Claim, answers []any, keep time.Duration) (changed holders) {
	known := make(holders)
	for i, c := range claims {
		key := s.keys.idemOf(c)
		have, ok := known[key]
		if !ok {
			have = parseHolders(answers[i])
			if len(have) == 0 {
				have = []holder{c.holder()}
			}
			known[key] = have
		}
		c.Bad = nil
		if err, failed := answers[i].(error); failed {
			c.First, c.Bad = c.ID, badKey(key, err)
			continue
		}
		var takes bool
		if c.First, takes = c.among(have, keep); takes {
			have = append(have, c.holder())
			known[key] = have[max(0, len(have)-mostHolders):]
			if changed == nil {
				changed = make(holders)
			}
			changed[key] = known[key]
		}
	}
	return changed
}

// among finds the holder of which the event is a repeat, or itself. takes: it has the key
// from now on.
func (c *Claim) among(have []holder, keep time.Duration) (first wire.ID, takes bool) {
	me, latest := c.holder(), true
	for _, h := range have {
		if h.id == me.id {
			return me.id, false
		}
		latest = latest && h.id.Less(me.id)
	}
	for _, h := range have {
		if max(h.at, me.at)-min(h.at, me.at) < uint64(keep.Milliseconds()) {
			return h.id, false
		}
	}
	return me.id, latest
}

func parseHolders(answer any) (have []holder) {
	text, _ := answer.(string)
	for word := range strings.FieldsSeq(text) {
		name, at, other := strings.Cut(word, "@")
		id, err := parseRedisID(name)
		if err != nil {
			continue
		}
		h := holder{id, id.Ms}
		if other {
			if ms, err := strconv.ParseUint(at, 10, 64); err == nil {
				h.at = ms
			}
		}
		have = append(have, h)
	}
	return have
}

// keepHolders writes the holders that have changed, by the right of the term.
func (l *Lane) keepHolders(ctx context.Context, changed holders, keep time.Duration) error {
	if len(changed) == 0 {
		return nil
	}
	conn, err := l.watching(ctx)
	if err != nil {
		return err
	}
	pipe := conn.TxPipeline()
	for key, have := range changed {
		words := make([]string, len(have))
		for i, h := range have {
			words[i] = h.String()
		}
		pipe.Set(ctx, key, strings.Join(words, " "), keep)
	}
	l.watched = false
	cmds, err := exec(ctx, pipe)
	if errors.Is(err, redis.TxFailedErr) {
		return ErrFenced
	}
	if err := l.failed(cmds, err); err != nil {
		return fmt.Errorf("cannot write the holders of idempotency keys: %w", err)
	}
	return nil
}
