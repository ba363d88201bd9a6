package client

import (
	"errors"
	"fmt"

	"sluice/shared/wire"
)

var (
	// ErrClosed says that Run has ended.
	ErrClosed = errors.New("the client is closed")
	// ErrQueueFull says that too many publishes and calls, or too many bytes of them, wait for their answers.
	ErrQueueFull = errors.New("too many publishes and calls wait for their answers")
	// ErrUnknown says that a publish or a call had no answer for as long as its key is known. It may have been done.
	ErrUnknown = errors.New("no answer: it may have been done")
	// ErrUserChanged says that Token gave another user's token, so what the one before wanted is not done.
	ErrUserChanged = errors.New("the token is another user's")
	// ErrSubscribed says that the target has a handler.
	ErrSubscribed = errors.New("the target has a handler already")
	// ErrTerminal in an error of Token ends the client, since there will be no token: a signed-out user.
	ErrTerminal = errors.New("there will be no token")
)

// Error is a refusal of the server.
type Error struct {
	Code    string // of the protocol: "forbidden", "too_large", "bad_request", ...
	Message string
	To      string // the target that it is about; "": none is known
}

func (e *Error) Error() string {
	if e.To == "" {
		return fmt.Sprintf("%s: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("%s: %s: %s", e.To, e.Code, e.Message)
}

// CloseError is the end of a connection by the server.
type CloseError struct {
	Code   int // 1006: without a word
	Reason string
}

func (e *CloseError) Error() string {
	return fmt.Sprintf("closed with code %d: %s", e.Code, e.Reason)
}

// final reports whether there is no use in coming back.
func (e *CloseError) final() bool {
	switch e.Code {
	case wire.CloseProtocol, wire.CloseUnsupported, wire.CloseInvalidText, wire.CloseTooLarge:
		return true
	}
	return e.Code >= wire.CloseBadRequest
}

// HandlerError is what a handler returned.
type HandlerError struct {
	To    string
	Event *Event // nil: it is that of a gap
	Err   error
}

func (e *HandlerError) Error() string {
	if e.Event == nil {
		return fmt.Sprintf("the handler of a gap of %s: %v", e.To, e.Err)
	}
	return fmt.Sprintf("the handler of %s, event %s: %v", e.To, e.Event.ID, e.Err)
}

func (e *HandlerError) Unwrap() error { return e.Err }
