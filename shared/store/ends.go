package store

import (
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// Edges are the ends of a history.
type Edges struct {
	Oldest, OldestPrev wire.ID // zero when it is empty
	Newest             wire.ID
	Empty              bool
}

// Next is what follows an id in a history, without its data.
type Next struct {
	ID, Prev wire.ID // zero when nothing follows
	First    bool    // as Event.First
}

// ends is what lua/ends.lua tells of a history.
type ends struct {
	Edges
	next    Next
	sum     int64 // of the newest entry; 0: it has none
	bytes   int64 // of all entries, at most; -1: not known
	entries int64
}

// endsOf asks for the ends of a history. after is what a reader has, nil if nobody wants to
// know what follows; entries without sums are added up to walk bytes, 0: not at all.
func (s *Store) endsOf(partition int, target string, after *wire.ID, walk int64) call {
	c := call{[]string{s.keys.history(partition, target)}, []any{"", ""}}
	if after != nil && *after != wire.MaxID {
		c.args[0] = after.Next().String()
	}
	if walk > 0 {
		c.args[1] = walk
	}
	return c
}

// parseEnds reads the answer for a reader that has everything up to after. A key that holds
// no stream is an empty history. prev stands in for what an entry that no worker wrote does
// not say: at the begin of a history anything may be missing before it.
func parseEnds(target string, cmd *redis.Cmd, after wire.ID) (ends, error) {
	e := ends{Edges: Edges{Empty: true}}
	if isWrongType(cmd.Err()) {
		return e, nil
	}
	res, err := cmd.Slice()
	if err != nil || len(res) == 0 {
		return e, err
	}
	if len(res) != 9 {
		return e, fmt.Errorf("the ends of the history of %s: the script answered %v", target, res)
	}
	text := func(i int) string { t, _ := res[i].(string); return t }
	oldest, err1 := parseRedisID(text(0))
	newest, err2 := parseRedisID(text(2))
	if err1 != nil || err2 != nil {
		return e, fmt.Errorf("the ends of the history of %s are %q and %q, which are no ids", target, text(0), text(2))
	}
	e.Edges = Edges{Oldest: oldest, OldestPrev: prevOf(text(1), oldest, oldest), Newest: newest}
	e.sum, _ = strconv.ParseInt(text(3), 10, 64)
	e.bytes, _ = res[4].(int64)
	e.entries, _ = res[5].(int64)
	if id, err := parseRedisID(text(6)); err == nil {
		e.next = Next{ID: id, Prev: prevOf(text(7), id, after), First: text(8) != ""}
	}
	return e, nil
}

// prevOf is the field prev of an entry, or what stands in for it.
func prevOf(text string, id, otherwise wire.ID) wire.ID {
	if prev, err := wire.ParseID(text); err == nil && prev.Less(id) {
		return prev
	}
	return otherwise
}

// trimLeft is the part of its bound in bytes that is left of a history that was above it:
// so it is trimmed once for many events.
const trimLeft = 16

// trimCall trims a history to a bound in bytes.
func (s *Store) trimCall(partition int, target string, most int64) call {
	return call{[]string{s.keys.history(partition, target)}, []any{most, most - most/trimLeft}}
}
