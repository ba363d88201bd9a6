package worker

import (
	"sluice/shared/store"
	"sluice/shared/wire"
)

const (
	// beatRounds is how many seconds the latest sequence number is repeated to a
	// gateway after the last message: a lost last message shows by it.
	beatRounds = 3
	// peerRounds is how many seconds a gateway that gets nothing is remembered. If it
	// comes back, its numbers begin anew, and it looks into the histories once.
	peerRounds = 600
)

// peer counts the messages of one partition to one gateway within a reign.
type peer struct {
	seq  uint64
	idle int // rounds since the last message
}

// outbox collects what one partition has for each gateway in a batch.
type outbox struct {
	partition int
	epoch     uint64
	peers     map[string]*peer
	open      map[string][]byte // messages of this batch
	order     []string
}

func newOutbox(partition int, epoch uint64) *outbox {
	return &outbox{
		partition: partition, epoch: epoch,
		peers: make(map[string]*peer), open: make(map[string][]byte),
	}
}

// add puts a record into the message for a gateway.
func (o *outbox) add(server string, r *wire.Record) {
	msg, ok := o.open[server]
	if !ok {
		p := o.peers[server]
		if p == nil {
			p = &peer{}
			o.peers[server] = p
		}
		msg = wire.AppendHead(make([]byte, 0, 512), wire.Head{Partition: o.partition, Epoch: o.epoch, Seq: p.seq + 1})
		o.order = append(o.order, server)
	}
	o.open[server] = wire.AppendRecord(msg, r)
}

// drop forgets the messages of a batch that is begun again.
func (o *outbox) drop() {
	clear(o.open)
	o.order = o.order[:0]
}

// seal counts the messages of the batch and hands them out.
func (o *outbox) seal(out []store.Outgoing) []store.Outgoing {
	for _, server := range o.order {
		p := o.peers[server]
		p.seq, p.idle = p.seq+1, 0
		out = append(out, store.Outgoing{Server: server, Payload: o.open[server]})
	}
	o.drop()
	return out
}

// beats adds the latest sequence numbers to those of other partitions.
func (o *outbox) beats(into map[string][]wire.Head) {
	for server, p := range o.peers {
		if p.idle < beatRounds && p.seq > 0 {
			into[server] = append(into[server], wire.Head{Partition: o.partition, Epoch: o.epoch, Seq: p.seq})
		}
		if p.idle++; p.idle > peerRounds {
			delete(o.peers, server)
		}
	}
}
