package wire_test

import (
	"errors"
	"strings"
	"testing"

	"sluice/shared/wire"
)

func TestCheckTarget(t *testing.T) {
	longest := strings.Repeat("x", 128)
	for _, s := range []string{
		"all", "user:alice", "topic:room-1", "user:a", "topic:a", "user:" + longest, "topic:" + longest,
		"topic:ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-:@/+=", "user:user:alice", "topic:all", "topic::", "topic:..",
	} {
		if err := wire.CheckTarget(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{
		"", "a", "alice", "ALL", "All", "all ", " all", "all:", "all:x", "user", "user:", "topic", "topic:", ":x", "User:alice", "TOPIC:x",
		"group:x", "users:x", "user;x", "user:" + longest + "x", "topic:" + longest + "x", "user: x", "topic:a b", "topic:a\x00", "topic:a\n",
		"topic:é", "topic:\xff", "topic:{x}", "topic:*", "topic:a,b", "topic:a%20b", "topic:a?b", "topic:a#b", "topic:a\\b", "topic:a~b", `topic:"`,
	} {
		if err := wire.CheckTarget(s); !errors.Is(err, wire.ErrTarget) {
			t.Errorf("%q: got %v, want ErrTarget", s, err)
		}
	}
}

// Exactly the characters of the protocol, and no byte of anything else.
func TestNameCharacters(t *testing.T) {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-:@/+="
	for c := range 256 {
		s := string([]byte{byte(c)})
		if got, want := wire.ValidName(s), strings.Contains(allowed, s); got != want {
			t.Errorf("%q as a name: %v, want %v", s, got, want)
		}
	}
	if wire.ValidName("") {
		t.Error("the empty name is allowed")
	}
}

func TestTargets(t *testing.T) {
	if got := wire.UserTarget("alice"); got != "user:alice" {
		t.Errorf("got %s", got)
	}
	if got := wire.TopicTarget("room-1"); got != "topic:room-1" {
		t.Errorf("got %s", got)
	}
	for target, want := range map[string]bool{"user:alice": true, "user:": false, "topic:user:x": false, "all": false, "": false} {
		if wire.IsUser(target) != want {
			t.Errorf("%q is a user's: %v, want %v", target, !want, want)
		}
	}
}
