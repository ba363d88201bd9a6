package live

import (
	"errors"
	"time"

	"sluice/shared/wire"
)

// errPartition says that a message is of a partition that there is not.
var errPartition = errors.New("no such partition")

// Batch delivers the records of one partition, and returns those that are results of
// publishes, in order. size is that of the whole message, in bytes. err: a part of it was
// malformed, and the histories are looked at.
func (f *Flow) Batch(m *wire.Message, size int) (results []wire.Record, records int, err error) {
	if m.Head.Partition >= len(f.shards) {
		return nil, 0, errPartition
	}
	sh := &f.shards[m.Head.Partition]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	stale := m.Head.Epoch < sh.epoch
	lost := false
	if !stale {
		sh.rival = rival{}
		if m.Head.Epoch > sh.epoch {
			// A new term. What the old one sent last may be lost, if there was an old one.
			lost = sh.epoch != 0 || m.Head.Seq != 1
			f.o.TermBegan(m.Head.Partition)
		} else {
			lost = m.Head.Seq != sh.seq+1
		}
		sh.epoch, sh.seq = m.Head.Epoch, m.Head.Seq
	}
	var r wire.Record
	for {
		ok, failure := m.Next(&r)
		if failure != nil {
			err, lost = failure, true
		}
		if !ok {
			break
		}
		records++
		if r.Kind == wire.RecEvent || r.Kind == wire.RecLive {
			f.deliver(sh, &r, size, stale)
		} else {
			results = append(results, r)
		}
	}
	if lost {
		f.reread.partition(sh)
	}
	return results, records, err
}

// rival is an epoch below the highest one that was seen, whose owner beats.
type rival struct {
	epoch uint64
	beats int
	since time.Time // of the first beat
}

// A lower epoch counts again after so many beats, over such a time, in which nothing came
// from a higher one. Redis has lost the higher one then (a failover to a node whose clock
// is behind). An owner that was deposed cannot beat so often: each of its beats goes out
// with a read, which tells it that it was deposed.
const (
	rivalBeats = 3
	rivalFor   = 2 * time.Second
)

// Beat compares an owner's latest sequence number with what came. false: there is no such
// partition.
func (f *Flow) Beat(b wire.Head) (known bool) {
	if b.Partition >= len(f.shards) {
		return false
	}
	sh := &f.shards[b.Partition]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	r := &sh.rival
	switch {
	case b.Epoch < sh.epoch:
		if r.epoch != b.Epoch {
			*r = rival{epoch: b.Epoch, since: time.Now()}
		}
		if r.beats++; r.beats < rivalBeats || time.Since(r.since) < rivalFor {
			return true
		}
		f.o.Log.Warn("the epoch of a partition is lower than before: Redis lost the last takeovers; continuing with the lower one",
			"partition", b.Partition, "from", sh.epoch, "to", b.Epoch)
	case b.Epoch == sh.epoch && b.Seq == sh.seq:
		*r = rival{}
		return true
	}
	*r = rival{}
	if b.Epoch != sh.epoch {
		f.o.TermBegan(b.Partition)
	}
	sh.epoch, sh.seq = b.Epoch, b.Seq
	f.reread.partition(sh)
	return true
}
