package model

// dead is the lease value of a process that died; its lease runs out in its own time.
const dead = 3

// term is what Redis holds about who reads a stream. Entries are numbered from 1; sets of entries are bit masks.
type term struct {
	lease   uint8 // the owner's process, 0: free
	epoch   uint8
	group   uint8 // the generation that the one consumer group is named for
	read    uint8 // the group's last-delivered id
	pending uint8 // the group's pending entries
	seen    uint8 // the group's note of what was read under the groups before it
}

// takeover is one script: the new group starts before the oldest pending entry of the old one, and the old one is gone.
// worker: term.go, take; store: takeover.lua.
func (r *term) takeover(process, generation uint8) {
	r.lease = process
	r.epoch++
	r.group = generation
	r.seen = max(r.seen, r.read)
	if r.pending != 0 {
		r.read = lowest(r.pending) - 1
	}
	r.pending = 0
}

// deliver is XREADGROUP of count new entries.
func (r *term) deliver(count uint8) (from, to uint8) {
	from = r.read
	for ; count > 0; count-- {
		r.read++
		r.pending |= bit(r.read)
	}
	return from, r.read
}

// free says whether a process may take the lease.
func (r *term) free(process uint8) bool { return r.lease == 0 || r.lease == process }
