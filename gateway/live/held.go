package live

import "sluice/shared/wire"

const (
	maxHeld      = 512
	maxHeldBytes = 256 << 10
)

// held are live records that wait until the history before them has been read. It
// is bounded: what does not fit is in the history and is read from there.
type held struct {
	records []wire.Record
	bytes   int
	missed  bool        // something did not fit, or was lost on the way: read again
	lacks   wire.Record // the first event that was given up, without its frame; it has no id if there was none
	looked  int         // records that were there when the latest read of the history began
	// behind is the target's last event to which the subscription's read had not come.
	behind wire.ID
	lost   wire.ID // by a deliberate defect
}

func (h *held) add(m *Metrics, r *wire.Record) {
	if !h.missed && (len(h.records) >= maxHeld || h.bytes+len(r.Frame) > maxHeldBytes) {
		h.miss(m)
	}
	if h.missed {
		if r.Kind == wire.RecLive {
			m.dropped(DropLiveOnly)
		}
		h.lack(r)
		return
	}
	h.records = append(h.records, *r)
	h.bytes += len(r.Frame)
}

// miss gives the records up: they are read from the history. Those that are live
// only are lost.
func (h *held) miss(m *Metrics) {
	for i := range h.records {
		h.lack(&h.records[i])
		if h.records[i].Kind == wire.RecLive {
			m.dropped(DropLiveOnly)
		}
	}
	*h = held{missed: true, lacks: h.lacks, behind: h.behind, lost: h.lost}
}

// lack notes an event that is given up.
func (h *held) lack(r *wire.Record) {
	if r.Kind == wire.RecEvent && h.lacks.ID.IsZero() {
		h.lacks = wire.Record{Kind: r.Kind, ID: r.ID, Prev: r.Prev}
	}
}

// first is the first event that waits or was given up; nil: there is none.
func (h *held) first() *wire.Record {
	if !h.lacks.ID.IsZero() {
		return &h.lacks
	}
	for i := range h.records {
		if h.records[i].Kind == wire.RecEvent {
			return &h.records[i]
		}
	}
	return nil
}
