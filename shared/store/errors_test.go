package store

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/redis/go-redis/v9"
)

// answer is an error as a server gives it.
type answer string

func (a answer) Error() string { return string(a) }
func (answer) RedisError()     {}

func TestFirstFailure(t *testing.T) {
	oom, wrong, cut := answer("OOM command not allowed"), answer("WRONGTYPE Operation"), io.ErrUnexpectedEOF
	for _, c := range []struct {
		name     string
		commands []error
		exec     error
		want     error
	}{
		{"nothing", nil, nil, nil},
		{"all good", []error{nil, nil}, nil, nil},
		{"nil replies", []error{redis.Nil, nil}, redis.Nil, nil},
		{"an expected answer", []error{wrong, nil}, wrong, nil},
		{"an answer", []error{nil, oom}, oom, oom},
		{"behind a nil reply", []error{redis.Nil, oom}, redis.Nil, oom},
		{"behind an expected answer", []error{wrong, oom}, wrong, oom},
		{"the first of two", []error{answer("BUSY"), oom}, oom, answer("BUSY")},
		{"a cut link behind a nil reply", []error{redis.Nil, cut}, redis.Nil, cut},
		{"a cut link behind an expected answer", []error{wrong, cut}, wrong, cut},
		{"a cut link behind an answer", []error{oom, cut}, oom, cut},
		{"a failure that no command has", []error{nil}, cut, cut},
		{"a failure before any command", nil, cut, cut},
		{"a connection that was refused", []error{nil, nil}, answer("WRONGPASS"), answer("WRONGPASS")},
	} {
		var cmds []redis.Cmder
		for _, err := range c.commands {
			cmd := &redis.StatusCmd{}
			cmd.SetErr(err)
			cmds = append(cmds, cmd)
		}
		settle(cmds, c.exec)
		for i, cmd := range cmds {
			if want := c.commands[i]; want != nil && !errors.Is(cmd.Err(), want) {
				t.Errorf("%s: command %d has %v, want its own error", c.name, i, cmd.Err())
			}
		}
		if got := firstFailure(cmds, c.exec, isWrongType); !errors.Is(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestIsReply(t *testing.T) {
	for err, want := range map[error]bool{
		nil: false, io.EOF: false, redis.Nil: false, redis.ErrClosed: false, ErrFenced: false,
		answer("OOM"): true, fmt.Errorf("wrapped: %w", answer("OOM")): true, fmt.Errorf("wrapped: %w", redis.Nil): false,
	} {
		if got := IsReply(err); got != want {
			t.Errorf("IsReply(%v) is %v", err, got)
		}
	}
}
