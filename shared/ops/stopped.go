package ops

import "context"

// UnlessStopped is err, or nil when ctx has ended: then the process stops because it
// was told to, and whatever failed by it is no failure.
func UnlessStopped(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}
