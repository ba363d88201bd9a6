package worker

import (
	"fmt"

	"sluice/shared/store"
)

// eventsRole brings events to the gateways. Who has it owns partitions, and so counts when
// they are shared.
var eventsRole = role{name: "events", owns: true, reads: store.Events, parts: lanes}

// lanes are one for the intake, and one for all partitions; on a Cluster, where a
// command cannot name keys of several partitions, one for each.
func lanes(w *Worker) (parts []part, err error) {
	add := func(set []int, s *share, b batcher) error {
		conn, err := w.store.NewLane(w.threads)
		if err != nil {
			return fmt.Errorf("cannot make a lane: %w", err)
		}
		parts = append(parts, newLane(w, conn, set, s, b))
		return nil
	}
	for _, set := range w.together() {
		if err := add(set, w.share, newStep(w)); err != nil {
			return nil, err
		}
	}
	parts = append(parts, partFunc(w.room.run))
	return parts, add([]int{store.Intake}, nil, &intake{w: w})
}
