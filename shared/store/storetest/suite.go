package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"sluice/shared/store"
	"sluice/shared/wire"
)

// suite is the conformance suite over one backend.
type suite struct {
	*Backend
}

// where says which backends a check is for.
type where int

const (
	everywhere where = iota
	realOnly         // needs what only a redis-server does
	replicated       // needs a replica for each master
)

// Run checks that the store keeps its promises on the Redis that open gives. It is
// opened once, and emptied before each check.
func Run(t *testing.T, open func(testing.TB) *Backend) {
	x := &suite{open(t)}
	for _, check := range []struct {
		name  string
		where where
		run   func(*suite, *testing.T)
	}{
		{"Meta", everywhere, (*suite).meta},
		{"Clock", everywhere, (*suite).clock},
		{"Await", realOnly, (*suite).await},
		{"Unfit", realOnly, (*suite).unfit},

		{"TakeOver/first", everywhere, (*suite).takeOverFirst},
		{"TakeOver/held", everywhere, (*suite).takeOverHeld},
		{"TakeOver/pending", everywhere, (*suite).takeOverPending},
		{"TakeOver/twice", everywhere, (*suite).takeOverTwice},
		{"TakeOver/lost group", realOnly, (*suite).takeOverLostGroup},
		{"TakeOver/old group", everywhere, (*suite).takeOverOldGroup},
		{"TakeOver/own", everywhere, (*suite).takeOverOwn},
		{"TakeOver/several", everywhere, (*suite).takeOverSeveral},
		{"TakeOver/epoch", everywhere, (*suite).takeOverEpoch},
		{"TakeOver/bad keys", everywhere, (*suite).takeOverBad},
		{"TakeOver/ids at the borders", everywhere, (*suite).takeOverBorders},
		{"TakeOver/several old groups", everywhere, (*suite).takeOverManyGroups},
		{"TakeOver/foreign groups", everywhere, (*suite).takeOverForeign},
		{"TakeOver/lag", realOnly, (*suite).takeOverLag},
		{"Lease", everywhere, (*suite).lease},

		{"Fence/append", everywhere, (*suite).fenceAppend},
		{"Fence/prepare", everywhere, (*suite).fencePrepare},
		{"Fence/blocked read", everywhere, (*suite).fenceBlocked},
		{"Fence/lost keys", everywhere, (*suite).fenceLostKeys},

		{"Commit/all at once", everywhere, (*suite).commit},
		{"Commit/order", realOnly, (*suite).commitOrder},
		{"Commit/reading", everywhere, (*suite).commitReading},
		{"Commit/close", everywhere, (*suite).commitClose},
		{"Commit/several partitions", everywhere, (*suite).commitSeveral},

		{"Prepare/claims", everywhere, (*suite).prepareClaims},
		{"Prepare/claims far apart", everywhere, (*suite).prepareClaimsApart},
		{"Prepare/ends", everywhere, (*suite).prepareEnds},
		{"Append/fields", everywhere, (*suite).appendFields},
		{"Append/repeat", everywhere, (*suite).appendRepeat},
		{"Append/refused", everywhere, (*suite).appendRefused},
		{"Append/trimmed repeat", everywhere, (*suite).appendTrimmed},
		{"Append/gone", everywhere, (*suite).appendGone},
		{"Append/ids at the borders", everywhere, (*suite).appendBorders},
		{"Append/size", everywhere, (*suite).appendSize},
		{"Append/bytes", everywhere, (*suite).appendBytes},
		{"Append/touch", everywhere, (*suite).appendTouch},
		{"Route", everywhere, (*suite).route},

		{"Refused/memory", realOnly, (*suite).refusedMemory},
		{"Refused/replica", realOnly, (*suite).refusedReplica},
		{"Refused/login", realOnly, (*suite).refusedLogin},

		{"Publish", everywhere, (*suite).publish},
		{"Forward", everywhere, (*suite).forward},
		{"Forward/and read", everywhere, (*suite).forwardRead},
		{"Forward/lost script", everywhere, (*suite).forwardLostScript},
		{"Forward/odd entries", everywhere, (*suite).forwardOdd},
		{"Forward/bad keys", everywhere, (*suite).forwardBad},
		{"Forward/rewind", everywhere, (*suite).forwardRewind},
		{"Trim", everywhere, (*suite).trim},
		{"Backlogs", everywhere, (*suite).backlogs},
		{"Backlogs/refused", realOnly, (*suite).backlogsRefused},

		{"Waits", everywhere, (*suite).waits},
		{"Waits/arrivals", everywhere, (*suite).arrivals},
		{"Waits/turn", everywhere, (*suite).wakeTurn},

		{"Bury", everywhere, (*suite).bury},
		{"Bury/many fields", everywhere, (*suite).buryManyFields},
		{"Bury/failure", everywhere, (*suite).buryFailure},
		{"Bury/bad key", everywhere, (*suite).buryBad},
		{"Bury/claims", everywhere, (*suite).buryClaims},
		{"Bury/too many", everywhere, (*suite).buryTooMany},
		{"DeadLetters", everywhere, (*suite).deadLetters},
		{"Requeue", everywhere, (*suite).requeue},

		{"History", everywhere, (*suite).history},
		{"History/odd keys", everywhere, (*suite).historyOdd},

		{"Sessions", everywhere, (*suite).sessions},
		{"Sessions/unregister", everywhere, (*suite).unregister},
		{"Sessions/sweep", everywhere, (*suite).sweep},
		{"Members", everywhere, (*suite).members},

		{"Acks/append", everywhere, (*suite).acksAppend},
		{"Acks/bound", everywhere, (*suite).acksBound},
		{"Acks/read", everywhere, (*suite).acksRead},
		{"Acks/bad key", everywhere, (*suite).acksBad},
		{"Acks/lost", realOnly, (*suite).acksLost},
		{"Acks/claim", everywhere, (*suite).acksClaim},
		{"Acks/claim of what was trimmed", realOnly, (*suite).acksClaimTrimmed},
		{"Acks/trim", everywhere, (*suite).acksTrim},
		{"Tasks/lost", everywhere, (*suite).tasksLost},
		{"Cursors", everywhere, (*suite).cursors},
		{"Cursors/at once", everywhere, (*suite).cursorsAtOnce},
		{"Cursors/expire", everywhere, (*suite).cursorsExpire},
		{"Cursors/full", everywhere, (*suite).cursorsFull},
		{"Holders", everywhere, (*suite).holders},
		{"Tickets", everywhere, (*suite).tickets},
		{"Kicks", everywhere, (*suite).kicks},
		{"Kicks/odd", everywhere, (*suite).kicksOdd},
		{"Connections", everywhere, (*suite).connections},

		{"Calls", everywhere, (*suite).calls},
		{"Calls/full", everywhere, (*suite).callsFull},
		{"Calls/dead", everywhere, (*suite).callsDead},
		{"Calls/posted", everywhere, (*suite).callsPosted},
		{"Calls/presence", everywhere, (*suite).callsPresence},
		{"Calls/unread", everywhere, (*suite).unread},
		{"Calls/unread acknowledged", everywhere, (*suite).unreadAcks},
		{"Calls/unread behind acks", everywhere, (*suite).unreadBacklog},
		{"Calls/unread full", everywhere, (*suite).unreadFull},
		{"Calls/unread bad keys", everywhere, (*suite).unreadBad},
		{"Calls/lost", everywhere, (*suite).callsLost},
		{"Calls/bad keys", everywhere, (*suite).callsBad},
		{"Functions", everywhere, (*suite).functions},

		{"Bus", everywhere, (*suite).bus},
		{"Bus/cut", realOnly, (*suite).busCut},
		{"Bus/restart", realOnly, (*suite).busRestart},

		{"Faults/lost scripts", everywhere, (*suite).lostScripts},
		{"Faults/lost replies", everywhere, (*suite).lostReplies},
		{"Faults/frozen", realOnly, (*suite).frozen},

		{"Failover/lane", replicated, (*suite).failoverLane},
		{"Failover/known term", replicated, (*suite).failoverKnownTerm},
		{"Failover/lost tail", replicated, (*suite).failoverLostTail},
		{"Failover/reader", replicated, (*suite).failoverReader},
		{"Failover/bus", replicated, (*suite).failoverBus},
		{"Failover/all that writes", replicated, (*suite).failoverDeeds},
	} {
		t.Run(check.name, func(t *testing.T) {
			if check.where == realOnly && !x.real() {
				t.Skip("only a redis-server does this")
			}
			if check.where == replicated && x.nodes == nil {
				t.Skip("there is no replica")
			}
			x.reset(t)
			check.run(x, t)
			x.rights(t)
		})
	}
}

// open opens a store over the backend, with no more rights than an installation needs. The users are those of the usual
// prefix.
func (x *suite) open(t *testing.T, mutate func(*store.Config)) *store.Store {
	t.Helper()
	return Open(t, x.URL, func(c *store.Config) {
		usual := c.Prefix
		if mutate != nil {
			mutate(c)
		}
		if c.Prefix == usual && x.real() { // the embedded one has no users
			c.RedisURL = As(Everybody, c.RedisURL)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s is %v, want %v", what, got, want)
	}
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("%s: error %v, want %v", what, got, want)
	}
}

// wantReply wants an error that the server answered with.
func wantReply(t *testing.T, what string, err error, text string) {
	t.Helper()
	if !store.IsReply(err) || !strings.Contains(err.Error(), text) {
		t.Fatalf("%s: error %v, want an answer of the server with %q", what, err, text)
	}
}

// wantLink wants an error that leaves open what happened.
func wantLink(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || store.IsReply(err) {
		t.Fatalf("%s: error %v, want a failure of the link", what, err)
	}
}

// Key is a key of a partition, as it is documented, with the prefix and the number of
// partitions of Config.
func Key(partition int, name string) string {
	return "sluice:{" + wire.Tags(16)[partition] + "}:" + name
}

// targetIn is the nth topic of a partition.
func targetIn(partition, n int) string {
	for i := 0; ; i++ {
		target := fmt.Sprintf("topic:t%d", i)
		if wire.Partition(target, 16) == partition {
			if n == 0 {
				return target
			}
			n--
		}
	}
}

func id(ms, seq uint64) wire.ID { return wire.ID{Ms: ms, Seq: seq} }

// add appends entries to a partition's stream, or to the intake, and returns their ids.
func (x *suite) add(t *testing.T, partition int, to string, n int) []wire.ID {
	t.Helper()
	ids := make([]wire.ID, n)
	for i := range ids {
		ids[i] = x.addAs(t, partition, "*", "to", to, "data", fmt.Sprint(i))
	}
	return ids
}

func stream(partition int) string {
	if partition == store.Intake {
		return "sluice:events"
	}
	return Key(partition, "events")
}

// addAs appends one entry under a given id.
func (x *suite) addAs(t *testing.T, partition int, as string, fields ...any) wire.ID {
	t.Helper()
	args := append([]any{"XADD", stream(partition), as}, fields...)
	text, err := x.Client.Do(t.Context(), args...).Text()
	must(t, err)
	given, err := wire.ParseID(text)
	must(t, err)
	return given
}
