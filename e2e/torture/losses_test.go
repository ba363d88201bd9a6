package torture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/store/storetest"
	"sluice/shared/wire"
)

// losses know what was lost with masters. Every node writes an append-only file, a replica what it is sent by its master
// in the same order. Both are read while they are written, and after a failover compared: what the old master has added
// and the new one has not is lost, whether it was added before the failover or by the old master for itself after it.
//
// What is retained in the end is read from the masters, since nothing else takes events away on these backends. So the
// checker knows every event that was ever in a history, and of each that was lost between which times it went.
type losses struct {
	nodes *storetest.Replicated
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu    sync.Mutex // guards what follows
	tails map[*storetest.Server]*tail
	since map[*storetest.Shard]int64 // both nodes have everything up to this mark
	marks int64
	lost  map[string][]Stored // by target, in the order of the failovers
	gone  map[int]bool        // numbers of events of which entries of an ingress stream, or dead letters, were lost
	final map[string][]Stored
	dead  []DeadLetter
	err   error
}

// tail is what a node has added to its file.
type tail struct {
	node  *storetest.Server
	files *aof   // owned by the reader
	mark  int64  // the last one in it
	by    string // the master that this is of
	added map[added]addition
}

// added is an entry of a stream.
type added struct {
	key string
	id  wire.ID
}

type addition struct {
	mark   int64 // the last one before it
	own    bool  // the node was the master; else its master had added it
	stored Stored
}

func newLosses(nodes *storetest.Replicated) *losses {
	l := &losses{
		nodes: nodes, tails: map[*storetest.Server]*tail{}, since: map[*storetest.Shard]int64{},
		lost: map[string][]Stored{}, gone: map[int]bool{},
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	for _, s := range nodes.Shards() {
		key := markKey
		for i := 0; nodes.ShardOf(key) != s; i++ {
			key = fmt.Sprintf("%s:%d", markKey, i)
		}
		for _, node := range []*storetest.Server{s.Master(), s.Replica()} {
			t := &tail{node: node, files: newAOF(node.Dir()), by: s.Master().Addr(), added: map[added]addition{}}
			l.tails[node] = t
			l.wg.Go(func() { l.mark(ctx, node, key) })
			l.wg.Go(func() {
				for pause(ctx, readEvery) {
					l.read(t)
				}
			})
		}
	}
	return l
}

func (l *losses) close() {
	l.stop()
	l.wg.Wait()
	for _, t := range l.tails {
		t.files.close()
	}
}

func (l *losses) read(t *tail) {
	err := t.files.read(func(commands [][][]byte) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, args := range commands {
			t.take(args)
		}
	})
	if err != nil {
		l.mu.Lock()
		l.err = errors.Join(l.err, err)
		l.mu.Unlock()
	}
}

// take notes an entry that was added, or a mark.
func (t *tail) take(args [][]byte) {
	key := ""
	if len(args) > 2 {
		key = string(args[1])
	}
	switch strings.ToLower(string(args[0])) {
	case "set":
		if strings.HasPrefix(key, markKey) {
			number, by, _ := strings.Cut(string(args[2]), " ")
			n, _ := strconv.ParseInt(number, 10, 64)
			t.mark, t.by = max(t.mark, n), by
		}
	case "xadd":
		m, id, _, err := entryOf(args)
		if err != nil {
			return
		}
		s := storedOf(m, id)
		if key == deadStream {
			s.N = numberOf(m, "f:")
		}
		t.added[added{key, id}] = addition{t.mark, t.by == t.node.Addr(), s}
	}
}

// compare notes what a shard has lost since a time. Its old master is a replica again, and has everything.
func (l *losses) compare(ctx context.Context, shard *storetest.Shard, since time.Time) error {
	mark, err := l.marked(ctx, shard)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	has := l.tails[shard.Master()].added
	for e, a := range l.tails[shard.Replica()].added {
		// What the new master has added by itself was not there before.
		if there, kept := has[e]; (kept && !there.own) || !a.own || a.mark < l.since[shard] || a.mark >= mark {
			continue
		}
		s := a.stored
		s.Trimmed, s.Gone, s.Wiped = since, time.Now(), Failed
		if to, history := targetOf(e.key); history {
			l.lost[to] = append(l.lost[to], s)
		} else if _, kept := has[e]; !kept && (isIngress(e.key) || e.key == deadStream) {
			l.gone[s.N] = true
		}
	}
	l.since[shard] = mark
	return nil
}

// mark writes marks to a node, with its name. While it is a replica it refuses them, and has those of its master.
func (l *losses) mark(ctx context.Context, node *storetest.Server, key string) {
	for pause(ctx, markEvery) {
		l.mu.Lock()
		l.marks++
		text := fmt.Sprintf("%d %s", l.marks, node.Addr())
		l.mu.Unlock()
		sending, cancel := context.WithTimeout(ctx, time.Second)
		_ = node.Client().Set(sending, key, text, 0) // it may be lost, or a replica
		cancel()
	}
}

// marked waits until both nodes of a shard have a mark from now on in their files, and returns that: what stands before it
// has been read.
func (l *losses) marked(ctx context.Context, shard *storetest.Shard) (mark int64, err error) {
	l.mu.Lock()
	first := l.marks + 1
	l.mu.Unlock()
	for {
		l.mu.Lock()
		mark, err := min(l.tails[shard.Master()].mark, l.tails[shard.Replica()].mark), l.err
		l.mu.Unlock()
		if err != nil || mark >= first {
			return mark, err
		}
		if !pause(ctx, readEvery) {
			return 0, fmt.Errorf("no mark is in the append-only files of both %s and %s", shard.Master().Addr(), shard.Replica().Addr())
		}
	}
}

// catchUp reads what the masters retain.
func (l *losses) catchUp(ctx context.Context) error {
	final := map[string][]Stored{}
	var dead []redis.XMessage
	for _, s := range l.nodes.Shards() {
		rdb := s.Master().Client()
		keys := rdb.Scan(ctx, 0, "sluice:{*}:history:*", 1000).Iterator()
		for keys.Next(ctx) {
			to, _ := targetOf(keys.Val())
			if to == broken {
				continue
			}
			entries, err := rdb.XRange(ctx, keys.Val(), "-", "+").Result()
			if err != nil {
				return fmt.Errorf("%s: %w", keys.Val(), err)
			}
			final[to] = nil
			for _, m := range entries {
				id, err := wire.ParseID(m.ID)
				if err != nil {
					return err
				}
				final[to] = append(final[to], storedOf(m, id))
			}
		}
		if err := keys.Err(); err != nil {
			return err
		}
		if l.nodes.ShardOf(deadStream) == s {
			var err error
			if dead, err = rdb.XRange(ctx, deadStream, "-", "+").Result(); err != nil {
				return err
			}
		}
	}
	letters, err := deadLetters(dead)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.final, l.dead = final, letters
	return l.err
}

func (l *losses) newest(to string) (id wire.ID, empty bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.final[to]); n > 0 {
		return l.final[to][n-1].ID, false
	}
	return wire.ID{}, true
}

func (l *losses) emptied() bool { return false }

// fill gives a log what the masters retain, and what was lost with others. What was lost and appended again, since its
// ingress stream had it still, was away for a while.
func (l *losses) fill(log *Log) {
	log.Histories, log.Dead, log.Flushed = l.final, l.dead, l.gone
	for to, list := range l.lost {
		for _, s := range list {
			i, found := slices.BinarySearchFunc(log.Histories[to], s.ID, func(s Stored, id wire.ID) int { return compare(s.ID, id) })
			if !found {
				s.Lost = true
				log.Histories[to] = slices.Insert(log.Histories[to], i, s)
			} else if kept := &log.Histories[to][i]; kept.Wiped == Kept {
				kept.Trimmed, kept.Gone, kept.Wiped = s.Trimmed, s.Gone, s.Wiped
			}
		}
	}
}
