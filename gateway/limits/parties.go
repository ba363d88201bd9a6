package limits

import (
	"sync"
	"sync/atomic"
	"time"
)

// Parties are those who share a limit over several connections: users, or addresses. One
// that has no connection is remembered only until its buckets are full again, so that to
// come again is no way around a limit.
type Parties struct {
	begin time.Time

	mu      sync.Mutex
	parties map[string]*Party
	left    []departure // in the order of their times
}

// Party is one of them. The buckets are for what the caller counts.
type Party struct {
	Key string
	// Frames, Publishes and Bytes are those of a user, Handshakes of an address.
	Frames, Publishes, Bytes, Handshakes Bucket
	// Targets are the subscriptions of all its connections.
	Targets atomic.Int64

	conns int           // guarded by Parties.mu
	went  time.Duration // when the last connection ended
}

type departure struct {
	party *Party
	at    time.Duration
}

// NewParties makes an empty list.
func NewParties() *Parties {
	return &Parties{begin: time.Now(), parties: make(map[string]*Party)}
}

// Now is a time for buckets: it never goes back.
func (p *Parties) Now() time.Duration { return time.Since(p.begin) }

// Enter counts a connection, unless there are most of them (0: any number). Leave must
// follow if ok.
func (p *Parties) Enter(key string, most int) (party *Party, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget()
	party = p.find(key)
	if most > 0 && party.conns >= most {
		return party, false
	}
	party.conns++
	return party, true
}

// MayShake says how long the next Handshake would have to wait.
func (p *Parties) MayShake(key string, r Rate) (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if party := p.parties[key]; party != nil {
		return party.Handshakes.Wait(p.Now(), r, 1)
	}
	return 0
}

// Handshake takes one from the key's bucket, or says how long to wait.
func (p *Parties) Handshake(key string, r Rate) (wait time.Duration) {
	if r <= 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget()
	party := p.find(key)
	wait = party.Handshakes.Take(p.Now(), r, 1)
	if party.conns == 0 {
		p.leave(party)
	}
	return wait
}

// Leave ends a connection of Enter.
func (p *Parties) Leave(party *Party) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if party.conns--; party.conns == 0 {
		p.leave(party)
	}
	p.forget()
}

// Len is how many are remembered.
func (p *Parties) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget()
	return len(p.parties)
}

func (p *Parties) find(key string) *Party {
	party := p.parties[key]
	if party == nil {
		party = &Party{Key: key}
		p.parties[key] = party
	}
	return party
}

// leave remembers a party without connections for as long as its buckets need; p.mu is
// held.
func (p *Parties) leave(party *Party) {
	now := p.Now()
	if party.isFull(now) {
		delete(p.parties, party.Key)
		return
	}
	if waits := party.went > 0; !waits {
		p.left = append(p.left, departure{party, now})
	}
	party.went = max(1, now)
}

func (party *Party) isFull(now time.Duration) bool {
	for _, b := range []*Bucket{&party.Frames, &party.Publishes, &party.Bytes, &party.Handshakes} {
		if !b.IsFull(now) {
			return false
		}
	}
	return true
}

// forget forgets those whose time is over; p.mu is held. Each is in the list at most once.
func (p *Parties) forget() {
	now := p.Now()
	for len(p.left) > 0 && now-p.left[0].at >= BurstTime {
		party := p.left[0].party
		p.left[0] = departure{}
		p.left = p.left[1:]
		party.went = 0
		if party.conns == 0 && p.parties[party.Key] == party {
			p.leave(party) // again, if it came meanwhile
		}
	}
	if len(p.left) == 0 {
		p.left = nil
	}
}
