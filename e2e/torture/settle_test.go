package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// settle waits until nothing is left to be done: every entry acknowledged, every client at the newest event of each of
// its targets. It returns what is not so after all patience.
func (r *run) settle() (unmet string) {
	ctx, cancel := context.WithTimeout(context.Background(), r.plan.patience)
	defer cancel()
	for {
		if unmet = r.unacknowledged(ctx); unmet == "" {
			if unmet = r.behind(ctx); unmet == "" {
				return ""
			}
		}
		if !pause(ctx, 100*time.Millisecond) {
			return unmet
		}
	}
}

// unacknowledged says which ingress stream has entries that are not done.
func (r *run) unacknowledged(ctx context.Context) string {
	for p := -1; p < partitions; p++ {
		key := intakeStream
		if p >= 0 {
			key = ingressStream(p)
		}
		info, err := r.system.rdb.XInfoStream(ctx, key).Result()
		if err != nil && strings.Contains(err.Error(), "no such key") {
			continue
		}
		if err != nil {
			return fmt.Sprintf("%s: %v", key, err)
		}
		groups, err := r.system.rdb.XInfoGroups(ctx, key).Result()
		if err != nil {
			return fmt.Sprintf("groups of %s: %v", key, err)
		}
		// A group that began anew on an emptied stream stays at 0 until the next entry comes.
		if len(groups) != 1 || groups[0].Pending != 0 || (info.Length > 0 && groups[0].LastDeliveredID != info.LastGeneratedID) {
			return fmt.Sprintf("%s ends at %s, its groups: %+v", key, info.LastGeneratedID, groups)
		}
	}
	return ""
}

// behind says which client has not got the newest event of one of its targets.
func (r *run) behind(ctx context.Context) string {
	newest := map[string]wire.ID{}
	evicted := r.evicted()
	for _, c := range r.recorders {
		positions, ok := c.at()
		if !ok {
			return "client " + c.name + " is not connected, or waits for an answer"
		}
		for to, pos := range positions {
			last, known := newest[to]
			if !known {
				entries, err := r.system.rdb.XRevRangeN(ctx, historyKey(to), "+", "-", 1).Result()
				if err != nil {
					return fmt.Sprintf("history of %s: %v", to, err)
				}
				if len(entries) > 0 {
					if last, err = wire.ParseID(entries[0].ID); err != nil {
						return fmt.Sprintf("history of %s: %v", to, err)
					}
				}
				newest[to] = last
			}
			if pos != last && !(last.IsZero() && evicted[to]) { // who has all is told nothing of an eviction
				return fmt.Sprintf("client %s has %s up to %v, not %v", c.name, to, pos, last)
			}
		}
	}
	return r.unmoved(ctx)
}

// unmoved says which device's cursor is not at what its client has acknowledged.
func (r *run) unmoved(ctx context.Context) string {
	for _, c := range r.recorders {
		acks := c.acks()
		if len(acks) == 0 {
			continue
		}
		cursors, err := c.readCursors(ctx)
		if err != nil {
			return fmt.Sprintf("cursors of %s: %v", c.name, err)
		}
		for to, id := range acks {
			if cursors[to] != id {
				return fmt.Sprintf("client %s has acknowledged %s up to %v, its cursor is %v", c.name, to, id, cursors[to])
			}
		}
	}
	return ""
}

// evicted are the targets whose history was evicted.
func (r *run) evicted() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	set := map[string]bool{}
	for to, gone := range r.trimmed {
		for _, s := range gone {
			if s.Wiped == Evicted {
				set[to] = true
			}
		}
	}
	return set
}

// collect reads what is left in Redis and makes the log of the run.
func (r *run) collect() *Log {
	log := &Log{Appends: r.appends, Faults: r.journal.faults, Flushes: r.flushes, Flushed: r.flushed, Histories: map[string][]Stored{}}
	r.system.must("read the histories", func(ctx context.Context) error { return r.readHistories(ctx, log) })
	r.system.must("read the dead letters", func(ctx context.Context) error { return r.readDead(ctx, log) })
	for _, c := range r.recorders {
		at := map[string]bool{}
		for to, w := range c.wants {
			if w.on {
				at[to] = true
			}
		}
		client := &Client{Name: c.name, Frames: c.frames, At: at, Acked: r.acked[c.name]}
		r.system.must("read the cursors", func(ctx context.Context) (err error) {
			client.Cursors, err = c.readCursors(ctx)
			return err
		})
		log.Clients = append(log.Clients, client)
	}
	return log
}

// readHistories reads all histories, and adds what the run has trimmed from them.
func (r *run) readHistories(ctx context.Context, log *Log) error {
	var keys []string
	for cursor := uint64(0); ; {
		page, next, err := r.system.rdb.Scan(ctx, cursor, "sluice:{*}:history:*", 1000).Result()
		if err != nil {
			return err
		}
		keys = append(keys, page...)
		if cursor = next; cursor == 0 {
			break
		}
	}
	targets := map[string]bool{}
	for _, key := range keys {
		_, to, _ := strings.Cut(key, ":history:")
		targets[to] = to != broken
	}
	for to := range r.trimmed {
		targets[to] = true
	}
	for to, wanted := range targets {
		if !wanted {
			continue
		}
		key, all := historyKey(to), map[wire.ID]Stored{}
		for _, s := range r.trimmed[to] {
			all[s.ID] = s
		}
		entries, err := r.system.rdb.XRange(ctx, key, "-", "+").Result()
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		list, err := stored(entries, time.Time{}, Kept)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		for _, s := range list {
			all[s.ID] = s
		}
		log.Histories[to] = slices.SortedFunc(maps.Values(all), func(a, b Stored) int { return compare(a.ID, b.ID) })
	}
	return nil
}

func (r *run) readDead(ctx context.Context, log *Log) error {
	entries, err := r.system.rdb.XRange(ctx, deadStream, "-", "+").Result()
	if err != nil {
		return err
	}
	letters, err := deadLetters(entries)
	log.Dead = append(slices.Clone(r.dead), letters...)
	return err
}

func deadLetters(entries []redis.XMessage) (letters []DeadLetter, err error) {
	for _, m := range entries {
		text := func(name string) string { s, _ := m.Values[name].(string); return s }
		d := DeadLetter{Reason: text("reason"), Stream: text("stream"), To: text("f:to"), N: numberOf(m, "f:")}
		if d.Entry, err = wire.ParseID(text("entry")); err != nil {
			return nil, fmt.Errorf("dead letter %s: %w", m.ID, err)
		}
		letters = append(letters, d)
	}
	return letters, nil
}

// numberIn is the number in an event's data, -1 if there is none.
func numberIn(data string) int {
	var d struct{ N *int }
	if err := json.Unmarshal([]byte(data), &d); err != nil || d.N == nil {
		return -1
	}
	return *d.N
}
