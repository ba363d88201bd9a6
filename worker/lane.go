package worker

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"time"

	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	leaseTTL     = 3 * time.Second
	renewEvery   = leaseTTL / 3
	balanceEvery = 200 * time.Millisecond
	blockFor     = 100 * time.Millisecond // bounds how long a taken partition waits for its first read
	quietBlock   = time.Second            // while nothing comes, and nothing more can be taken; so long a stop may wait
	quietAfter   = 5 * time.Second
	batchEntries = 512      // of all partitions together
	batchBytes   = 4 << 20  // of what was read, worked on at once: it goes out in one transaction
	trimBytes    = 4 << 20  // acknowledged: more is trimmed at once, and not only once a second
	readBytes    = 64 << 20 // read at once, if all entries are as large as they may be
	maxBackoff   = time.Second
	fullPause    = 20 * time.Millisecond
)

// batcher is the work that a lane does for what it reads.
type batcher interface {
	// process does everything with the entries but the last part. An error leaves
	// it to the lane to call again with the same entries. done are those to be
	// acknowledged, of each partition in order.
	process(ctx context.Context, conn *store.Lane, entries []store.Entry) (out []store.Outgoing, done []store.Entry, err error)
	// holds says whether entries are held back that are not done, and whether process is
	// to be called for them although nothing new has come.
	holds() (some, due bool)
	// full says that nothing more is to be read for now.
	full() bool
	// begin and end tell of terms. Whatever was known of a partition is void. Nothing is
	// read before begin has returned; after an error the term does not begin.
	begin(ctx context.Context, r store.Term) error
	end(partition int)
	// upkeep is called about once a second, between batches.
	upkeep(ctx context.Context) []store.Outgoing
}

// lane is a goroutine that reads some partitions together, and the intake, under
// one generation. Entries of the intake it brings to their partitions, and what it finds
// there then it works on at once: so an event that came through the intake costs one round
// trip more than another one. On a Cluster, where one command cannot name keys of several
// slots, the intake has a lane of its own.
//
// The generation names the consumer group. It is fresh after every failure of which the
// effect is not known: a read on a broken connection may still run, and would take
// entries into the group's pending list that nobody looks at. By then the group is
// gone, and the new one begins before everything that was not acknowledged.
type lane struct {
	w      *Worker
	conn   *store.Lane
	log    *slog.Logger
	batch  batcher
	intake *intake // nil: it is not among the candidates

	candidates []int  // partitions that it may own, and the intake
	share      *share // of the worker that the partitions count in
	generation string
	owned      []int             // sorted
	epochs     map[int]uint64    // of the terms
	leaving    []int             // no longer read, to be released after the next commit
	acked      map[int]wire.ID   // acknowledged, to be trimmed
	highest    map[int]wire.ID   // acknowledged, while something below may not be done
	apart      map[int]time.Time // partitions that nobody can take: when to look again

	untrimmed int           // bytes of what was worked on since the last trimming
	entrySize int           // bytes of an entry, as read lately
	came      []store.Entry // read from the intake, and not forwarded yet
	rest      []store.Entry // read from partitions, and not worked on yet

	renewAt, balanceAt, upkeepAt time.Time

	busyAt time.Time // something came, or was taken
}

func newLane(w *Worker, conn *store.Lane, candidates []int, s *share, b batcher) *lane {
	var in *intake
	if slices.Contains(candidates, store.Intake) {
		in = &intake{w: w}
	}
	return &lane{
		w: w, conn: conn, log: w.log, batch: b, intake: in,
		candidates: candidates, share: s,
		generation: newGeneration(), epochs: make(map[int]uint64), acked: make(map[int]wire.ID), highest: make(map[int]wire.ID),
		apart: make(map[int]time.Time), entrySize: w.store.Config().MaxData,
	}
}

func newGeneration() string { return rand.Text()[:12] }

// read is what to read next, up to count entries of each partition; 0: nothing.
func (l *lane) read(count int) store.Read {
	from := l.owned
	if l.ownsIntake() && (len(l.came) > 0 || l.intake.full()) {
		from = from[1:]
	}
	if len(from) == 0 {
		count = 0
	}
	return store.Read{
		Generation: l.generation, Consumer: l.w.id, Partitions: l.owned, From: from, Epochs: l.rights(), Count: count, Block: l.block(),
	}
}

// worksOn notes what is worked on now.
func (l *lane) worksOn(entries []store.Entry) {
	if len(entries) > 0 {
		l.untrimmed += sizeOf(entries)
		l.busyAt = time.Now()
		l.w.activity.note()
	}
}

// counted are how many of these count in the share.
func counted(partitions []int) int32 {
	if slices.Contains(partitions, store.Intake) {
		return int32(len(partitions) - 1)
	}
	return int32(len(partitions))
}

// block is how long a read waits for something to come.
func (l *lane) block() time.Duration {
	if l.holds(store.Intake) || len(l.came) > 0 {
		return blockFor
	}
	if some, _ := l.batch.holds(); some || len(l.owned) < len(l.candidates) || time.Since(l.busyAt) < quietAfter {
		return blockFor
	}
	return quietBlock
}

// rights are the epochs of the partitions owned.
func (l *lane) rights() []uint64 {
	epochs := make([]uint64, len(l.owned))
	for i, p := range l.owned {
		epochs[i] = l.epochs[p]
	}
	return epochs
}

// cut takes the first entries off that are not more than so many bytes together, one at
// least.
func cut(entries []store.Entry, bytes int) (piece, rest []store.Entry) {
	size := 0
	for i := range entries {
		if size += entries[i].Size(); size > bytes && i > 0 {
			return entries[:i], entries[i:]
		}
	}
	return entries, nil
}

func sizeOf(entries []store.Entry) (n int) {
	for i := range entries {
		n += entries[i].Size()
	}
	return n
}
