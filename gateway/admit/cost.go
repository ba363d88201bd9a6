package admit

import (
	"time"

	"sluice/shared/wire"
)

// What frames and requests cost, in frames. They are documented (docs/protocol.md).
const (
	PlainCost = 1
	MoveCost  = 5 // subscribe of what is subscribed already, or a page: a history may be read again
)

// The limits of a user that a frame or a request may be over: labels of the metric.
const (
	LimitUserFrames    = "user_frames"
	LimitUserBytes     = "user_bytes"
	LimitUserPublishes = "user_publishes"
)

// TooFast is the refusal of what is over a limit.
func TooFast(wait time.Duration) error {
	return &wire.FrameError{Code: wire.CodeRateLimited, Message: "too much in too short a time", RetryAfter: wait}
}
