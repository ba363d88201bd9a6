package wire

// Close codes. In 4000-4999: below 4500 the client may come back, from 4500 on it
// must not.
const (
	CloseGoingAway   = 1001
	CloseProtocol    = 1002
	CloseUnsupported = 1003 // binary frames
	CloseInvalidText = 1007 // text that is not UTF-8
	CloseTooLarge    = 1009
	CloseInternal    = 1011
	CloseRestart     = 1012 // the gateway drains
	CloseOverloaded  = 1013

	CloseTooSlow      = 4001
	CloseNoPong       = 4002
	CloseRateLimited  = 4003
	CloseExpired      = 4401 // get a fresh token first
	CloseBadRequest   = 4500
	CloseUnauthorized = 4501
	CloseForbidden    = 4503
)

// Codes of `error` frames.
const (
	CodeBadRequest   = "bad_request"
	CodeUnauthorized = "unauthorized"
	CodeForbidden    = "forbidden"
	CodeNotFound     = "not_found" // by HTTP only
	CodeTooLarge     = "too_large"
	CodeRateLimited  = "rate_limited"
	CodeTooMany      = "too_many"
	CodeUnavailable  = "unavailable"
)

// Reasons of `gap` frames.
const (
	GapTrimmed = "trimmed" // the history no longer reaches back that far
	GapExpired = "expired" // the history outlived its time
	GapUnknown = "unknown" // the position is none that the history knows
)
