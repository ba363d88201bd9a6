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
	missed  bool // something did not fit, or was lost on the way: read again
	lacks   bool // an event did not fit
	looked  int  // records that were there when the latest read of the history began
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
		h.lacks = h.lacks || r.Kind == wire.RecEvent
		return
	}
	h.records = append(h.records, *r)
	h.bytes += len(r.Frame)
}

// miss gives the records up: they are read from the history. Those that are live
// only are lost.
func (h *held) miss(m *Metrics) {
	lacks := h.lacks
	for i := range h.records {
		if h.records[i].Kind == wire.RecLive {
			m.dropped(DropLiveOnly)
		} else {
			lacks = true
		}
	}
	*h = held{missed: true, lacks: lacks, behind: h.behind, lost: h.lost}
}
