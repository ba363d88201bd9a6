package auth

import (
	"strings"
	"testing"
)

func TestIdentity(t *testing.T) {
	plain := Identity{User: "alice"}
	chat := Identity{User: "alice", rights: rights{subscribe: []string{"topic:room-*", "topic:news"}, publish: []string{"topic:room-1", "user:b*"}}}
	greedy := Identity{User: "alice", rights: rights{subscribe: []string{"*", "user:*", "user:bob"}, publish: []string{"*"}}}
	dev := Identity{User: "alice", rights: rights{everything: true}}
	tests := []struct {
		name               string
		id                 Identity
		target             string
		subscribe, publish bool
	}{
		{"own user", plain, "user:alice", true, false},
		{"all", plain, "all", true, false},
		{"topic without claim", plain, "topic:x", false, false},
		{"other user", plain, "user:bob", false, false},
		{"a user whose name continues ours", plain, "user:alice2", false, false},
		{"a user whose name begins ours", plain, "user:alic", false, false},
		{"other case", plain, "user:Alice", false, false},

		{"claim keeps own user", chat, "user:alice", true, false},
		{"claim keeps all", chat, "all", true, false},
		{"claim with star and exact", chat, "topic:room-1", true, true},
		{"claim with star", chat, "topic:room-2", true, false},
		{"star matches nothing too", chat, "topic:room-", true, false},
		{"exact", chat, "topic:news", true, false},
		{"exact is not a prefix", chat, "topic:news2", false, false},
		{"publish to another user", chat, "user:bob", false, true},

		{"other user under every pattern", greedy, "user:bob", false, true},
		{"anything else under *", greedy, "topic:secret", true, true},

		{"dev: topic", dev, "topic:x", true, true},
		{"dev: all", dev, "all", true, true},
		{"dev: own user", dev, "user:alice", true, true},
		{"dev: other user", dev, "user:bob", false, true},

		{"nobody: all", Identity{}, "all", false, false},
		{"nobody: user with no name", Identity{}, "user:", false, false},
		{"nobody: everything", Identity{rights: rights{everything: true, subscribe: []string{"*"}, publish: []string{"*"}}}, "topic:x", false, false},
		{"no name", dev, "user:", false, true},
		{"longest", dev, strings.Repeat("t", maxTargetBytes), true, true},
		{"too long", dev, strings.Repeat("t", maxTargetBytes+1), false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.id.CanSubscribe(tt.target); got != tt.subscribe {
				t.Errorf("CanSubscribe(%q) = %t", tt.target, got)
			}
			if got := tt.id.CanPublish(tt.target); got != tt.publish {
				t.Errorf("CanPublish(%q) = %t", tt.target, got)
			}
		})
	}
}

func BenchmarkCanSubscribeWorstCase(b *testing.B) {
	pattern := strings.Repeat("*a", maxPatternBytes/2-1) + "*b"
	id := Identity{User: "alice"}
	for range MaxTokenBytes * 3 / 4 / len(pattern) { // what fits into a token
		id.subscribe = append(id.subscribe, pattern)
	}
	target := strings.Repeat("a", maxTargetBytes)
	for b.Loop() {
		id.CanSubscribe(target)
	}
}

func TestValidUser(t *testing.T) {
	const charset = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-:@/+="
	for c := range 256 {
		s := string([]byte{byte(c)})
		if got, want := validUser(s), strings.Contains(charset, s); got != want {
			t.Errorf("validUser(%q) = %t", s, got)
		}
	}
	for s, want := range map[string]bool{
		"": false, charset: true, strings.Repeat("u", 128): true, strings.Repeat("u", 129): false,
		"alice bob": false, "alice\n": false, "älice": false, "a*": false,
	} {
		if got := validUser(s); got != want {
			t.Errorf("validUser(%q) = %t", s, got)
		}
	}
}
