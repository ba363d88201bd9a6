package worker

import (
	"slices"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// peerRounds is how many seconds a gateway that gets nothing is remembered after it
// has died. If it comes back, its numbers begin again, and it looks into the histories.
const peerRounds = 60

// peer counts the messages of one partition to one gateway within a term.
type peer struct {
	seq  uint64
	idle int // seconds since the last message
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

// beats adds the latest sequence number for every living gateway, 0 where nothing
// was sent in this term: so a gateway sees that the last message of this term, or of
// the one before, was lost, without waiting for the next one.
func (o *outbox) beats(live []string, into map[string][]wire.Head) {
	for _, server := range live {
		head := wire.Head{Partition: o.partition, Epoch: o.epoch}
		if p := o.peers[server]; p != nil {
			head.Seq = p.seq
		}
		into[server] = append(into[server], head)
	}
	for server, p := range o.peers {
		if p.idle++; p.idle > peerRounds && !slices.Contains(live, server) {
			delete(o.peers, server)
		}
	}
}
