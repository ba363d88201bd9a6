package worker

import (
	"fmt"

	"sluice/shared/store"
)

// eventsRole brings events to the gateways. Who has it owns partitions, and so counts when
// they are shared.
var eventsRole = role{name: "events", owns: true, reads: store.Events, parts: lanes}

// lanes are one for the intake and all partitions; on a Cluster, where a command cannot name
// keys of several slots, one for each.
func lanes(w *Worker) (parts []part, err error) {
	sets := w.together()
	if len(sets) == 1 && !w.store.PerPartition() {
		sets[0] = append([]int{store.Intake}, sets[0]...)
	} else {
		sets = append(sets, []int{store.Intake})
	}
	for _, set := range sets {
		conn, err := w.store.NewLane(w.threads)
		if err != nil {
			return nil, fmt.Errorf("cannot make a lane: %w", err)
		}
		parts = append(parts, newLane(w, conn, set, w.share, newStep(w)))
	}
	return append(parts, partFunc(w.room.run)), nil
}
