package torture

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/shared/wire"
)

// TestLedger has Redis take entries away in every way, restarts it in the middle, and compares the ledger with it.
func TestLedger(t *testing.T) {
	s := newRedis(t, alone, 0)
	ledger := s.ledger.(*ledger)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	do := func(args ...any) {
		t.Helper()
		s.must(fmt.Sprint(args...), func(ctx context.Context) error { return s.rdb.Do(ctx, args...).Err() })
	}
	add := func(to string, id int, more ...any) {
		t.Helper()
		args := append([]any{"XADD", historyKey(to)}, more...)
		do(append(args, fmt.Sprintf("%d-0", id), "prev", "0", "data", payload(id), "event", nameOf(id))...)
	}
	names := []string{"topic:bounded", "topic:trimmed", "topic:expired", "topic:deleted", "topic:again", "topic:flushed"}
	for i, to := range names[:5] {
		for n := range 300 {
			if i == 0 {
				add(to, n+1, "MAXLEN", "~", 100)
			} else {
				add(to, n+1)
			}
		}
	}
	before := time.Now()
	if err := ledger.catchUp(ctx); err != nil {
		t.Fatal(err)
	}
	do("XTRIM", historyKey(names[1]), "MINID", "=", "11")
	do("PEXPIRE", historyKey(names[2]), 1)
	do("DEL", historyKey(names[3]), historyKey(names[4]))
	server := s.backend.(*single)
	server.running().Kill()
	server.run()
	do("BGREWRITEAOF")
	s.must("rewrite", func(ctx context.Context) error {
		info, err := s.rdb.Info(ctx, "persistence").Result()
		if err == nil && (strings.Contains(info, "aof_rewrite_in_progress:1") || strings.Contains(info, "aof_rewrite_scheduled:1")) {
			err = errors.New("it goes on")
		}
		return err
	})
	add(names[4], 300) // as a worker that does not know that it had appended it
	s.must("expire", func(ctx context.Context) error {
		if s.rdb.Exists(ctx, historyKey(names[2])).Val() != 0 {
			return errors.New("it is there")
		}
		return nil
	})
	if err := ledger.catchUp(ctx); err != nil {
		t.Fatal(err)
	}
	after := time.Now()
	for i, want := range []struct {
		gone int // of 300
		how  Wipe
	}{{0, Kept}, {10, Kept}, {300, Evicted}, {300, Evicted}, {300, Evicted}} {
		history := ledger.histories()[names[i]]
		if len(history) != 300 {
			t.Fatalf("%s: %d entries", names[i], len(history))
		}
		there := s.rdb.XLen(ctx, historyKey(names[i])).Val()
		if i == 0 {
			want.gone = 300 - int(there)
		}
		for n, e := range history {
			gone := n < want.gone
			if e.N != n+1 || gone == e.Trimmed.IsZero() || (gone && e.Wiped != want.how) {
				t.Fatalf("%s, entry %d: %+v", names[i], n, e)
			}
			if gone && i > 0 && (e.Trimmed.Before(before.Add(-time.Second)) || e.Trimmed.After(e.Gone) || e.Gone.After(after)) {
				t.Errorf("%s, entry %d went after %v and before %v, not between %v and %v", names[i], n, e.Trimmed, e.Gone, before, after)
			}
		}
	}
	if last := ledger.histories()[names[4]][299]; last.Life != 1 || last.Trimmed.IsZero() {
		t.Errorf("appended again: %+v", last)
	}

	add(names[5], 1)
	do("XADD", intakeStream, "1-0", "event", nameOf(7))
	do("XADD", ingressStream(3), "1-0", "event", nameOf(8))
	do("XADD", ingressStream(3), "2-0", "event", nameOf(9))
	do("XTRIM", ingressStream(3), "MINID", "2-0")
	do("XADD", deadStream, "*", "reason", "no_data", "stream", intakeStream, "entry", "1-0", "f:event", nameOf(7))
	pipe := s.rdb.TxPipeline()
	pipe.FlushAll(ctx)
	pipe.Set(ctx, historyKey(broken), "no stream", 0)
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	add(names[5], 2)
	if err := ledger.catchUp(ctx); err != nil {
		t.Fatal(err)
	}
	history := ledger.histories()[names[5]]
	if len(history) != 2 || history[0].Wiped != Flushed || history[1].Era != 1 || history[1].Life != 1 {
		t.Errorf("flushed: %+v", history)
	}
	if l := ledger; len(l.flushes) != 1 || l.flushed[8] || !l.flushed[7] || !l.flushed[9] || len(l.dead) != 1 || l.dead[0].N != 7 {
		t.Errorf("flushed at %v, with %v, dead letters %v", l.flushes, l.flushed, l.dead)
	}
	if newest, empty := ledger.newest(names[5]); newest != history[1].ID || empty {
		t.Errorf("the newest is %v, empty %v", newest, empty)
	}
}

// TestTransaction: only what is there as a whole is taken.
func TestTransaction(t *testing.T) {
	const whole = "#TS:1\r\n*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4\r\n1\r\n2\r\n*1\r\n$4\r\nEXEC\r\n"
	b := []byte(whole)
	_, head, err := transaction(b)
	if err != nil || head != len("#TS:1\r\n") {
		t.Fatalf("annotation: %d %v", head, err)
	}
	for i := head; i < len(b); i++ {
		if _, n, err := transaction(b[head:i]); n != 0 || err != nil {
			t.Errorf("%q is taken: %d %v", b[head:i], n, err)
		}
	}
	commands, n, err := transaction(b[head:])
	if err != nil || n != len(b)-head || len(commands) != 1 || string(commands[0][2]) != "1\r\n2" {
		t.Errorf("%q %d %v", commands, n, err)
	}
	for _, odd := range []string{"hello\r\n", "*x\r\n", "*1\r\n$x\r\n"} {
		if _, _, err := transaction([]byte(odd)); err == nil {
			t.Errorf("%q is taken", odd)
		}
	}
	for words, want := range map[string]int{"MAXLEN = 2": 1, "MAXLEN 3": 0, "MINID 2": 1, "MINID ~ 2-1 LIMIT 5": 2, "MAXLEN x": 0} {
		ids := []uint64{1, 2, 3}
		got := excess(strings.Fields(words), 3, func(i int) wire.ID { return wire.ID{Ms: ids[i]} })
		if got != want {
			t.Errorf("%s takes %d away, want %d", words, got, want)
		}
	}
}
