package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// Lane is a connection of its own for the step of a worker: it blocks while it
// waits for entries, and it watches the epochs of the terms by whose right it
// writes. One goroutine uses it.
type Lane struct {
	s    *Store
	rdb  redis.UniversalClient
	conn *redis.Conn // nil until used, and after a failure of the link

	partitions []int
	epochs     []uint64
	watched    bool   // the connection watches the epochs, and they were ours
	armed      bool   // the connection may watch something
	generation string // of the last Commit
	over       bool   // the connection of this generation was lost: nothing is done under it any more

	// Commands that are the same for many batches, and room for the others.
	watchWords []any
	readWords  []any
	readOf     Read // what readWords are of; only From of its partitions
	words      words
	limit      any // how many events a history keeps
}

// NewLane makes a lane; Close ends it. ownThread says that the process does little
// else, so that the lane may hold a thread while it waits for Redis: that is half the
// work (kernelwait_linux.go).
func (s *Store) NewLane(ownThread bool) (*Lane, error) {
	rdb, err := s.cfg.connect(s.nodes, 2, ownThread && !s.PerPartition())
	if err != nil {
		return nil, err
	}
	return &Lane{s: s, rdb: rdb, limit: s.cfg.HistorySize}, nil
}

// Close ends the lane's connections. Another goroutine may call it; a blocked read
// fails then.
func (l *Lane) Close() error { return l.rdb.Close() }

// PerPartition reports whether a lane can read only one partition: on a Cluster
// one command cannot name keys of several slots.
func (s *Store) PerPartition() bool {
	_, ok := s.rdb.(*redis.ClusterClient)
	return ok
}

// link is the lane's connection: always the same one, since what is watched belongs
// to it. On a Cluster it is one to the node of the lane's partition, which also
// passes publications on to the other nodes. ErrFenced after it was lost: the next one
// may lead to another node, which may have the term and not what its owner has read
// and written since.
func (l *Lane) link(ctx context.Context) (*redis.Conn, error) {
	if l.over {
		return nil, ErrFenced
	}
	if l.conn != nil {
		return l.conn, nil
	}
	l.watched, l.armed = false, false
	switch rdb := l.rdb.(type) {
	case *redis.Client:
		l.conn = rdb.Conn()
	case *redis.ClusterClient:
		key := l.s.keys.meta()
		if len(l.partitions) > 0 {
			key = l.s.keys.events(l.partitions[0])
		}
		locate(ctx, rdb) // this is rare, and what the client knows may be as old as the connection before
		node, err := rdb.MasterForKey(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("cannot find the node of %s: %w", key, err)
		}
		l.conn = node.Conn()
	default:
		return nil, fmt.Errorf("no lane over a client of type %T", l.rdb)
	}
	return l.conn, nil
}

// failed is firstFailure. After a failure of the link the connection is lost, and also
// after an answer that the partition has moved to another node or that this one is a replica
// now: the client refuses such a connection for ever. After other answers it goes on.
func (l *Lane) failed(cmds []redis.Cmder, err error, expected ...func(error) bool) error {
	err = firstFailure(cmds, err, expected...)
	if mayHaveMoved(err) {
		l.lose()
	}
	return err
}

func (l *Lane) lose() {
	l.drop()
	l.over = l.generation != ""
}

// Lost reports whether the connection of this generation was lost: everything is ErrFenced, until
// a Commit under another one.
func (l *Lane) Lost() bool { return l.over }

func (l *Lane) drop() {
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn, l.watched, l.armed = nil, false, false
	}
}

// rights notes the terms by which the lane writes.
func (l *Lane) rights(next Read) {
	if next.Generation != l.generation {
		l.generation, l.over, l.watched = next.Generation, false, false
	}
	if !slices.Equal(l.epochs, next.Epochs) {
		l.watched = false
	}
	if !slices.Equal(l.partitions, next.Partitions) {
		l.watchWords, l.watched = nil, false
		if l.s.PerPartition() && len(next.Partitions) > 0 {
			l.drop() // connected for another partition, maybe to another node
		}
	}
	l.partitions = append(l.partitions[:0], next.Partitions...)
	l.epochs = append(l.epochs[:0], next.Epochs...)
}

// watching is the lane's connection while it watches the epochs. Usually it does
// so since the last read; after a transaction it begins again, and looks whether the
// terms are still its own.
func (l *Lane) watching(ctx context.Context) (*redis.Conn, error) {
	conn, err := l.link(ctx)
	if err != nil || l.watched {
		return conn, err
	}
	pipe := conn.Pipeline()
	epochs := l.watch(ctx, pipe)
	cmds, err := exec(ctx, pipe)
	if err := l.failed(cmds, err); err != nil {
		return nil, fmt.Errorf("cannot watch the epochs: %w", err)
	}
	if !l.mine(epochs) {
		return nil, ErrFenced
	}
	l.watched = true
	return conn, nil
}

// watch asks for the watch and then for the epochs, which mine compares.
func (l *Lane) watch(ctx context.Context, pipe redis.Pipeliner) []*redis.StringCmd {
	if len(l.partitions) == 0 {
		return nil
	}
	l.armed = true
	pipe.Do(ctx, l.watchArgs()...)
	epochs := make([]*redis.StringCmd, len(l.partitions))
	for i, p := range l.partitions {
		epochs[i] = pipe.Get(ctx, l.s.keys.epoch(p))
	}
	return epochs
}

func (l *Lane) watchArgs() []any {
	if l.watchWords == nil {
		l.watchWords = append(l.watchWords, "WATCH")
		for _, p := range l.partitions {
			l.watchWords = append(l.watchWords, l.s.keys.epoch(p))
		}
	}
	return l.watchWords
}

func (l *Lane) mine(epochs []*redis.StringCmd) bool {
	for i, e := range epochs {
		if e.Val() != strconv.FormatUint(l.epochs[i], 10) {
			return false
		}
	}
	return true
}
