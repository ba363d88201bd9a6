package store

import (
	"strings"

	"sluice/shared/wire"
)

// Intake in the place of a partition's number stands for the intake stream, which
// has a lease and terms of its own.
const Intake = -1

// keys builds every key of an installation. A partition's keys carry its hash tag: they
// lie on one node of a Cluster. So do the intake's, whose tag is the name of its stream.
type keys struct {
	prefix string
	tags   []string
	parts  []string // "sluice:{43}:"
	// Every batch names these of all partitions.
	streams, epochs []string
}

func newKeys(prefix string, partitions int) keys {
	k := keys{prefix: prefix, tags: wire.Tags(partitions), parts: make([]string, partitions)}
	for p, tag := range k.tags {
		k.parts[p] = prefix + "{" + tag + "}:"
		k.streams = append(k.streams, k.parts[p]+"events")
		k.epochs = append(k.epochs, k.parts[p]+"epoch")
	}
	for p := range partitions { // behind them, by CallsOf
		k.streams = append(k.streams, k.parts[p]+"calls")
		k.epochs = append(k.epochs, k.parts[p]+"calls-epoch")
	}
	return k
}

// CallsOf is the number that stands for the calls of a partition where that of a partition is wanted: for a stream with a
// lease and terms of its own.
func (s *Store) CallsOf(partition int) int { return partition + s.cfg.Partitions }

func (k *keys) intake() string { return k.prefix + "events" }

// Place is where events are appended that take no way over the intake.
type Place struct {
	Partition   int
	Tag, Stream string // the partition's
}

// Place is that of a target's events. Redis is not asked.
func (c *Config) Place(target string) Place {
	k := newKeys(c.Prefix, c.Partitions)
	p := k.partition(target)
	return Place{p, k.tags[p], k.events(p)}
}

// of is the begin of the keys of the terms over a partition, its calls, or the intake.
func (k *keys) of(p int) string {
	switch {
	case p == Intake:
		return k.prefix + "{" + k.intake() + "}:"
	case p >= len(k.parts):
		return k.parts[p-len(k.parts)] + "calls-"
	}
	return k.parts[p]
}

func (k *keys) events(p int) string {
	if p == Intake {
		return k.intake()
	}
	return k.streams[p]
}

func (k *keys) epoch(p int) string {
	if p == Intake {
		return k.of(p) + "epoch"
	}
	return k.epochs[p]
}

func (k *keys) slow(p int) string { return k.parts[p] + "slow" }

func (k *keys) lease(p int) string     { return k.of(p) + "lease" }
func (k *keys) forwarded(p int) string { return k.parts[p] + "forwarded" }

func (k *keys) partition(target string) int { return wire.Partition(target, len(k.parts)) }

func (k *keys) history(p int, target string) string { return k.parts[p] + "history:" + target }
func (k *keys) acks(p int) string                   { return k.parts[p] + "acks" }
func (k *keys) session(p int, target string) string { return k.parts[p] + "session:" + target }

// kicks are those of all users of a partition; barred keeps one user out; about is what is known of a user's connections.
func (k *keys) kicks(p int) string                { return k.parts[p] + "kicks" }
func (k *keys) about(p int, target string) string { return k.parts[p] + "about:" + target }
func (k *keys) barred(user string) string {
	target := wire.UserTarget(user)
	return k.parts[k.partition(target)] + "barred:" + target
}

// barredAt is when that was asked for. No user's name has a space.
func (k *keys) barredAt(user string) string { return k.barred(user) + " asked" }

// calling is what is known of a user's connections that functions have heard of, or may hear of; watched are all those of a
// partition.
func (k *keys) calling(p int, user string) string {
	return k.parts[p] + "calling:" + wire.UserTarget(user)
}

// answers are those to a user's calls without a connection.
func (k *keys) answers(p int, user string) string {
	return k.parts[p] + "answers:" + wire.UserTarget(user)
}
func (k *keys) watched(p int) string { return k.parts[p] + "watched" }

// connects are clients of which functions are asked who they are, in any partition.
func (k *keys) connects(p int) string { return k.parts[p] + "connects" }

// leaving are the users of a partition that may have left.
func (k *keys) leaving(p int) string { return k.parts[p] + "leaving" }

// unread are events of a partition's users that wait to be acknowledged, by when they are due; unreadOf are the same by user and id.
func (k *keys) unread(p int) string   { return k.parts[p] + "unread" }
func (k *keys) unreadOf(p int) string { return k.parts[p] + "unread-of" }

func (k *keys) functions() string { return k.prefix + "functions" }

// cursors lie in the partition of their user.
func (k *keys) cursors(user string) string {
	target := wire.UserTarget(user)
	return k.parts[k.partition(target)] + "cursor:" + target
}

// deadWaiting is where dead letters wait while dead holds something else. It lies in one slot with it.
func (k *keys) deadWaiting() string { return k.prefix + "{" + k.dead() + "}:waiting" }

func (k *keys) idemOf(c *Claim) string { return k.idem(c.Partition, c.To, c.Owner, c.Key) }

// idem writes a colon in the target's name as %3A: user:a with the key b:c and
// user:a:b with the key c are two. A user's own keys stand apart from those of backends,
// and of each other user.
func (k *keys) idem(p int, target, owner, key string) string {
	colons := func(s string) string { return strings.ReplaceAll(s, ":", "%3A") }
	if kind, name, ok := strings.Cut(target, ":"); ok && strings.Contains(name, ":") {
		target = kind + ":" + colons(name)
	}
	if owner != "" {
		return k.parts[p] + "idem-of:" + colons(owner) + ":" + target + ":" + key
	}
	return k.parts[p] + "idem:" + target + ":" + key
}

func (k *keys) channel(server string) string { return k.prefix + "server:" + server }
func (k *keys) members(kind Kind) string     { return k.prefix + string(kind) }
func (k *keys) dead() string                 { return k.prefix + "dead" }
func (k *keys) meta() string                 { return k.prefix + "meta" }
func (k *keys) wake() string                 { return k.prefix + "wake" }
func (k *keys) ticket(ticket string) string  { return k.prefix + "ticket:" + ticket }

// deadMark says that an entry has become a dead letter; it lies on the node of the
// dead letters.
func (k *keys) deadMark(stream string, id wire.ID) string {
	return k.prefix + "{" + k.dead() + "}:mark:" + stream + ":" + id.String()
}
