package model

import (
	"strings"
	"testing"
)

// limit of states: about 500 MB. A model that needs more has outgrown its bounds.
const limit = 4_000_000

// workerFaults are those that concern the history; each can end a term.
var workerFaults = Faults{Total: 4 - fewerFaults, Expire: 3, Lose: 2, Crash: 2, Refuse: 2}

var (
	plain   = Config{Events: 3, Batch: 3, Faults: workerFaults}
	keyed   = Config{Events: 3, Batch: 3, Keyed: bit(1) | bit(2) | bit(3), Faults: forgetting(workerFaults)}
	mixed   = Config{Events: 4, Batch: 3, Keyed: bit(2) | bit(4), Faults: workerFaults}
	served  = Config{Events: 2, Batch: 2, Subscriber: true, Faults: Faults{Total: 2, Expire: 1, Lose: 1, Crash: 1, Refuse: 1, Drop: 2, Leave: 1}}
	lossy   = Config{Events: 3, Batch: 2, Subscriber: true, Faults: Faults{Total: 2, Expire: 1, Drop: 2, Leave: 1}}
	short   = Config{Events: 3, Batch: 2, Faults: workerFaults} // an entry stays unread, and can overtake
	twins   = Config{Events: 3, Batch: 3, Keyed: bit(1) | bit(2), Faults: forgetting(workerFaults)}
	bounded = Config{Events: 3, Batch: 3, Faults: Faults{Total: 4 - fewerFaults, Expire: 3, Lose: 1, Crash: 1, Refuse: 1, Trim: 2}}
	forward = Intake{Events: 3, Batch: 3, Faults: Faults{Total: 3 - fewerFaults, Expire: 3, Lose: 2, Crash: 2, Refuse: 2}}
)

func forgetting(f Faults) Faults { f.Forget = 1; return f }

func (m Config) with(d Defect) Config { m.Defect = d; return m }

// TestPromises: no order of steps and faults within the bounds breaks promises 1 to 3.
func TestPromises(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
	}{
		{"events without keys", plain},
		{"events with one key, which may expire", keyed},
		{"events with and without a key", mixed},
		{"a history that is trimmed", bounded},
		{"a subscriber, and workers that fail", served},
		{"a subscriber, and Pub/Sub that loses messages", lossy},
		// The fence guards only against two owners who judge a key differently, before and after it expired.
		{"without the fence, and no key expires", Config{Events: 3, Batch: 3, Keyed: twins.Keyed, Faults: Faults{Total: 3, Expire: 3, Lose: 2, Crash: 2, Refuse: 1}, Defect: Unfenced}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.config.Subscriber {
				c.config.Faults.Total -= fewerFaults
			}
			r := explore[state](c.config, limit)
			t.Log(r)
			if r.Broken != "" || r.Settled == 0 {
				t.Error("a promise is broken, or was never due")
			}
		})
	}
	t.Run("intake", func(t *testing.T) {
		r := explore[intakeState](forward, limit)
		t.Log(r)
		if r.Broken != "" || r.Settled == 0 {
			t.Error("a promise is broken, or was never due")
		}
	})
}

// TestDefects: the explorer finds each deliberate mistake; -v prints the shortest way to the harm.
func TestDefects(t *testing.T) {
	for _, c := range []struct {
		defect Defect
		config Config
		broken string
	}{
		{GroupKept, short, "passed over"},
		{AckFirst, plain, "acknowledged and is not in the history"},
		{SessionsFirst, served, "the subscriber has not got everything"},
		{NotBuffered, served, "the subscriber has not got everything"},
		{PendingReread, short, "passed over"},
		{GenerationReused, short, "passed over"},
		{CacheKept, plain, "prev"},
		{PlainAppends, plain, "passed over"},
		{PlainClaims, keyed, "acknowledged and is not in the history"},
		{Unfenced, twins, "prev"},
		{Unfenced, keyed, "acknowledged as a duplicate was appended"},
		{UnfencedClaims, keyed, "duplicate of one that was never appended"},
		{NotClaimed, mixed, "two events with one idempotency key"},
		{OwnClaimLost, mixed, "passed over"},
		{BeatToPublished, served, "the subscriber has not got everything"},
		{PrevIgnored, served, "will never get one before it"},
		{GapForgotten, served, "the subscriber has not got everything"},
		{PlainDelete, served, "the subscriber has not got everything"},
		{SeenForgotten, bounded, "became a dead letter"},
	} {
		t.Run(string(c.defect), func(t *testing.T) {
			r := explore[state](c.config.with(c.defect), limit)
			t.Log(r)
			if r.Broken == "" || !strings.Contains(r.Broken, c.broken) {
				t.Errorf("found %q, want %q", r.Broken, c.broken)
			}
		})
	}
	t.Run(string(ForwardedApart), func(t *testing.T) {
		broken := forward
		broken.Defect = ForwardedApart
		broken.Faults.Refuse = 0
		r := explore[intakeState](broken, limit)
		t.Log(r)
		if !strings.Contains(r.Broken, "forwarded twice") {
			t.Errorf("found %q, want an entry that was forwarded twice", r.Broken)
		}
	})
}
