package functions

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"sluice/shared/wire"
)

const (
	// maxAnswer bounds the body of an answer, maxState what is kept for a connection, maxItems each list in it.
	maxAnswer = 256 << 10
	maxState  = 16 << 10
	maxItems  = 256
)

// Answer is what a function wants to be done. Whatever its fields say may be done twice without a second effect.
type Answer struct {
	Reply       json.RawMessage `json:"reply"` // of a call; nil: without data
	Publish     []Event         `json:"publish"`
	Subscribe   []string        `json:"subscribe"`
	Unsubscribe []string        `json:"unsubscribe"`
	State       json.RawMessage `json:"state"` // nil: as it is; null: none
	Close       *Close          `json:"close"`
}

// Event is one that a function publishes.
type Event struct {
	To     string          `json:"to"`
	Data   json.RawMessage `json:"data"`
	Event  string          `json:"event"`
	Retain wire.Retain     `json:"retain"`
	Except string          `json:"except"`
	Unread string          `json:"unread"`
}

// Close ends the connection.
type Close struct {
	Code   int    `json:"code"` // 0: as for a kick
	Reason string `json:"reason"`
}

// parseAnswer reads the body of a 2xx. Unknown fields are ignored. An error is the function's fault: it counts as a failure.
func parseAnswer(body []byte) (*Answer, error) {
	a := &Answer{}
	if err := parseObject(body, a); err != nil {
		return nil, err
	}
	switch {
	case len(a.State) > maxState:
		return nil, fmt.Errorf("state has %d bytes, at most %d are kept", len(a.State), maxState)
	case len(a.Publish) > maxItems || len(a.Subscribe) > maxItems || len(a.Unsubscribe) > maxItems:
		return nil, fmt.Errorf("a list in the answer has more than %d items", maxItems)
	}
	return a, nil
}

// parseObject reads a body that is a JSON object, or nothing.
func parseObject(body []byte, into any) error {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return nil
	}
	if body[0] != '{' {
		return errors.New("the answer is no JSON object")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("the answer is not what an answer may be: %w", err)
	}
	return nil
}
