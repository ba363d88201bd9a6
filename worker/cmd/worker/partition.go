package main

import (
	"fmt"
	"io"

	"sluice/shared/ops"
	"sluice/shared/store"
	"sluice/shared/wire"
)

const partitionUsage = "want: partition TARGET"

// partition is the command `partition`: the number of a target's partition, its hash tag,
// and the stream to which its events may be appended. It does not ask Redis.
func partition(cfg *store.Config, args []string, out io.Writer) error {
	if len(args) != 1 {
		return ops.UsageError(partitionUsage)
	}
	if err := wire.CheckTarget(args[0]); err != nil {
		return ops.UsageError(err.Error())
	}
	at := cfg.Place(args[0])
	_, err := fmt.Fprintln(out, at.Partition, at.Tag, at.Stream)
	return err
}
