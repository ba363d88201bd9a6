package live

import (
	"os"

	"sluice/shared/wire"
)

// Deliberate defects, for the test of the checker that has to find them. SLUICE_DEFECT
// chooses one:
//
//	no-buffer    events count as delivered to subscriptions that read the history, and are not
//	lost-record  an event from the channel counts as delivered and is not, now and then
//
// The store has others (store.go).
func init() {
	switch os.Getenv("SLUICE_DEFECT") {
	case "no-buffer":
		faults.noBuffer = true
	case "lost-record":
		faults.lose = func(id wire.ID) bool { return id.Ms%40 == 0 }
	}
}
