package hostile_test

import "fmt"

// attack is one way to do harm.
type attack struct {
	name   string // as in docs/operations.md
	spread bool   // it comes from many addresses
	attack func(*attacker)
}

// attacks are all that are known. Each of them goes on until the attacker leaves.
var attacks = []attack{
	// Strangers.
	{"idle-sockets", true, idleSockets},
	{"slow-headers", true, slowHeaders},
	{"unfinished-headers", true, unfinishedHeaders},
	{"missing-bodies", false, missingBodies},
	{"slow-bodies", true, slowBodies},
	{"unread-answers", false, unreadAnswers},
	{"queries-of-commas", true, queriesOfCommas},
	{"half-frames", true, halfFrames},
	{"large-connects", true, largeConnects},
	{"bad-tokens", true, badTokens},
	{"handshakes", false, handshakes},
	{"handshakes-from-everywhere", true, handshakes},

	// Clients with a token.
	{"half-frames-of-members", true, halfFramesOfMembers},
	{"pings", false, pings},
	{"fragments", false, fragments},
	{"auths", false, auths},
	{"acks", false, acks},
	{"publishes", false, publishes},
	{"nested-publishes", false, nestedPublishes},
	{"subscribes", false, subscribes},
	{"resumes", true, resumes},
	{"connects", true, connects},
	{"connections-of-one-user", true, connectionsOfOneUser},
	{"unread-sockets", true, unreadSockets},
	{"unread-streams", true, unreadStreams},
	{"requests", false, requests},
}

func find(name string) (attack, bool) {
	for _, a := range attacks {
		if a.name == name {
			return a, true
		}
	}
	return attack{}, false
}

// Histories that are as large as they may be.
const (
	largeTopics = 4
	largeEvents = 68 // of 60 KB, which is the default of SLUICE_HISTORY_BYTES
	largeSize   = 60_000
)

func largeTopic(i int) string { return fmt.Sprint("large-", i%largeTopics) }
