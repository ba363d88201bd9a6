package model

// Faults says how often each fault may happen, and all of them together.
type Faults struct {
	Total  uint8
	Expire uint8 // a lease ends while its owner lives: sleeps, or is slow
	Lose   uint8 // a worker's connection breaks: commands not executed, executed without a reply, or executed later
	Crash  uint8 // a worker dies; the same of its commands
	Refuse uint8 // Redis answers one command with an error (no memory, loading, busy, read-only) and executes the following
	Drop   uint8 // Pub/Sub loses a message
	Leave  uint8 // the subscriber goes and comes back
	Forget uint8 // the idempotency key expires
	Trim   uint8 // the history loses its oldest entry
}

// spend takes one fault of a kind from the faults left.
func (f *Faults) spend(kind *uint8) bool {
	if f.Total == 0 || *kind == 0 {
		return false
	}
	f.Total--
	*kind--
	return true
}
