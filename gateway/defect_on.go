//go:build sluice_defects

package gateway

import "os"

// defect is a deliberate defect, for the test of the checker that has to find it:
//
//	no-buffer    live events are dropped while a subscription to their target reads the history
//	lost-record  an event from the channel counts as delivered and is not, now and then
//
// shared/store has others.
var defect = os.Getenv("SLUICE_DEFECT")
