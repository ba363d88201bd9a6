package torture

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// settle waits until nothing is left to be done: every entry acknowledged, every client at the newest event of each of
// its targets. It returns what is not so after all patience, which begins again when clients have more of their targets than
// ever: devices may have hundreds, and the machine may have other things to do.
func (r *run) settle() (unmet string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	patience, most := time.AfterFunc(r.plan.patience, cancel), 0
	defer patience.Stop()
	for {
		ready := 0
		for _, c := range r.recorders {
			ready += len(c.ready())
		}
		if ready > most && patience.Stop() {
			most = ready
			patience.Reset(r.plan.patience)
		}
		left := r.unacknowledged(ctx)
		if left == "" {
			left = r.behind(ctx)
		}
		if left == "" {
			return ""
		}
		if ctx.Err() == nil || unmet == "" { // else it is the wait that has ended
			unmet = left
		}
		if !pause(ctx, 100*time.Millisecond) {
			return unmet
		}
	}
}

// untold waits until functions have heard of all events that nobody has acknowledged, and returns what is not so after all patience: an
// attempt may lie in the hands of a worker that died.
func (r *run) untold(ctx context.Context) (unmet string) {
	if !r.plan.unread {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, lostTask)
	defer cancel()
	for {
		n := int64(0)
		r.system.must("look for events that functions are to hear of", func(ctx context.Context) error {
			n = 0
			for p := range partitions {
				waits, tells := r.system.rdb.ZCard(ctx, partitionKey(p, "unread")), r.system.rdb.XLen(ctx, partitionKey(p, "calls"))
				if err := errors.Join(waits.Err(), tells.Err()); err != nil {
					return err
				}
				n += waits.Val() + tells.Val()
			}
			return nil
		})
		if n == 0 {
			return ""
		}
		if !pause(ctx, 100*time.Millisecond) {
			return fmt.Sprintf("%d events wait that functions hear of them", n)
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
		// A group that began again on an emptied stream stays at 0 until the next entry comes.
		if len(groups) != 1 || groups[0].Pending != 0 || (info.Length > 0 && groups[0].LastDeliveredID != info.LastGeneratedID) {
			return fmt.Sprintf("%s ends at %s, its groups: %+v", key, info.LastGeneratedID, groups)
		}
	}
	return ""
}

// behind says which client has not got the newest event of one of its targets. Who was told that the history is empty is
// at "0", and so is a device that came back from there, whatever it had before.
func (r *run) behind(ctx context.Context) string {
	if err := r.system.ledger.catchUp(ctx); err != nil {
		return err.Error()
	}
	for _, c := range r.recorders {
		positions, ok := c.at()
		if !ok {
			return "client " + c.name + " is not connected, or waits for an answer"
		}
		for to, pos := range positions {
			if newest, empty := r.system.ledger.newest(to); pos != newest && !(empty && (pos.IsZero() || c.device != "")) {
				return fmt.Sprintf("client %s has %s up to %v, not %v", c.name, to, pos, newest)
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

// collect makes the log of the run.
func (r *run) collect() *Log {
	l := r.system.ledger
	r.system.must("read what was retained", l.catchUp)
	log := &Log{Appends: r.appends, Faults: r.journal.faults}
	l.fill(log)
	for i := range log.Receipts {
		log.Receipts[i].At = log.Receipts[i].At.Add(-r.plan.clock) // by which Redis's clock is ahead
	}
	r.system.must("compare the histories", func(ctx context.Context) error { return r.compare(ctx, log) })
	for _, c := range r.recorders {
		client := &Client{Name: c.name, Frames: c.frames, At: r.there[c.name], Acked: r.acked[c.name], Device: c.device != "", Retained: c.retained}
		r.system.must("read the cursors", func(ctx context.Context) (err error) {
			client.Cursors, err = c.readCursors(ctx)
			return err
		})
		log.Clients = append(log.Clients, client)
	}
	return log
}

// compare checks the ledger: what Redis has now stands in it.
func (r *run) compare(ctx context.Context, log *Log) error {
	return r.system.backend.each(ctx, func(ctx context.Context, rdb *redis.Client) error {
		keys := rdb.Scan(ctx, 0, "sluice:{*}:history:*", 1000).Iterator()
		for keys.Next(ctx) {
			if to, _ := targetOf(keys.Val()); to != broken {
				if err := r.compareOne(ctx, keys.Val(), log.Histories[to]); err != nil {
					return err
				}
			}
		}
		return keys.Err()
	})
}

func (r *run) compareOne(ctx context.Context, key string, history []Stored) error {
	entries, err := r.system.rdb.XRange(ctx, key, "-", "+").Result()
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	booked := map[string]bool{}
	for _, s := range history {
		booked[s.ID.String()] = s.Trimmed.IsZero() || s.Wiped != Kept
	}
	for _, m := range entries {
		if !booked[m.ID] {
			r.system.t.Errorf("%s holds %s, and in the append-only file it was never added, or was taken away", key, m.ID)
		}
	}
	return nil
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
