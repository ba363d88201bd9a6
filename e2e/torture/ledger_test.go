package torture

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// ledger knows what Redis retained, and when: it reads Redis's append-only file while Redis writes it. There stands every
// change in its order, whoever made it: what the workers appended, what a bound or an expiry took away, what a fault
// deleted. So nothing that was retained for a moment only is missed, and no polling can be too late.
//
// The file has no times. Every few milliseconds a mark with the time is written to Redis, so that what stands between
// two marks has bounds: it happened after the one before it was sent, and before the one behind it was answered.
type ledger struct {
	rdb   redis.UniversalClient
	stop  context.CancelFunc
	wg    sync.WaitGroup
	files *aof // owned by the reader

	mu      sync.Mutex // guards what follows
	sent    time.Time  // when the latest mark in the file was sent
	open    []undated  // what was taken away and has no later bound yet, oldest first
	books   map[string]*book
	queues  map[string][]queued // what the ingress streams hold
	dead    []DeadLetter
	flushes []time.Time
	flushed map[int]bool // numbers of events that a flush found in ingress streams
	wiped   bool         // a history was taken away as a whole
	told    []Told
	acks    []Receipt
	err     error // the file cannot be read
}

// book is what is known of one target's histories.
type book struct {
	all     []Stored        // in the order in which they were first appended
	places  map[wire.ID]int // in all
	present []int           // places of those that are in the history, oldest first
	life    int             // how many histories were taken away as a whole
	newest  wire.ID         // the last that was appended
}

// queued is an entry of an ingress stream.
type queued struct {
	id wire.ID
	n  int
}

// undated are entries that were taken away before a mark.
type undated struct {
	before time.Time // the mark behind them was sent then; zero: there is none yet
	list   []leaf
}

// leaf is an entry of a book.
type leaf struct {
	book  *book
	place int
}

const (
	markKey   = "torture:mark"
	markEvery = 20 * time.Millisecond
	readEvery = 20 * time.Millisecond
)

// newLedger begins to read the append-only files below a directory of Redis's, and to write marks.
func newLedger(dir string, rdb redis.UniversalClient) *ledger {
	l := &ledger{
		rdb: rdb, files: newAOF(dir),
		books: map[string]*book{}, queues: map[string][]queued{}, flushed: map[int]bool{},
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.wg.Go(func() { l.mark(ctx) })
	l.wg.Go(func() {
		for pause(ctx, readEvery) {
			l.read()
		}
	})
	return l
}

func (l *ledger) close() {
	l.stop()
	l.wg.Wait()
	l.files.close()
}

// mark writes marks: the time, and that of the latest mark that was answered.
func (l *ledger) mark(ctx context.Context) {
	answered := int64(0)
	for pause(ctx, markEvery) {
		sent := time.Now().UnixMicro()
		if l.rdb.Set(ctx, markKey, fmt.Sprintf("%d %d", sent, answered), 0).Err() == nil {
			answered = sent
		}
		l.rdb.Persist(ctx, historyKey(broken)) // a worker gives any key of a history an expiry
	}
}

// catchUp waits until the books are as new as now.
func (l *ledger) catchUp(ctx context.Context) error {
	now := time.Now()
	for {
		l.mu.Lock()
		sent, err := l.sent, l.err
		l.mu.Unlock()
		if err != nil || sent.After(now) {
			return err
		}
		if !pause(ctx, readEvery) {
			return fmt.Errorf("the append-only file has no mark since %v", sent)
		}
	}
}

// read takes into the books what has been added to the files.
func (l *ledger) read() {
	err := l.files.read(func(commands [][][]byte) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, args := range commands {
			l.take(args)
		}
	})
	if err != nil {
		l.mu.Lock()
		l.err = errors.Join(l.err, err)
		l.mu.Unlock()
	}
}

// fill gives a log what was retained when, what became a dead letter, and what was deleted with everything else.
func (l *ledger) fill(log *Log) {
	log.Histories = l.histories()
	log.Dead, log.Flushes, log.Flushed = l.dead, l.flushes, l.flushed
	log.Told, log.Receipts = l.told, l.acks
}
