//go:build sluice_defects

package gateway

import "os"

// defect is a deliberate defect, for the test of the checker that has to find it:
//
//	no-buffer    events count as delivered to subscriptions that read the history, and are not
//	lost-record  an event from the channel counts as delivered and is not, now and then
//
// shared/store has others.
var defect = os.Getenv("SLUICE_DEFECT")
