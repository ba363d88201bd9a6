package client

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"sluice/shared/wire"
)

// Positions are up to where a user's events have been handled, by target.
type Positions struct {
	User string             `json:"user"`
	At   map[string]wire.ID `json:"at"`
}

// Store keeps positions over restarts of the program. Its methods are called by the goroutine of Run only. Save is given a
// copy, at most ten times a second, and at the end.
type Store interface {
	// Load gives what was saved last; nothing, if there is nothing. An error ends Run: to begin again would leave out what was missed.
	Load(ctx context.Context) (Positions, error)
	Save(ctx context.Context, p Positions) error
}

// File is a Store: a file of this name, of one client.
type File string

// Load reads the file, if there is one.
func (f File) Load(context.Context) (p Positions, err error) {
	text, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	return p, err
}

// Save replaces the file, so that a program that dies in the middle leaves the one before.
func (f File) Save(_ context.Context, p Positions) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(string(f)), filepath.Base(string(f))+".*")
	if err != nil {
		return err
	}
	_, err = next.Write(text)
	err = errors.Join(err, next.Sync(), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), string(f))
	}
	if err != nil {
		_ = os.Remove(next.Name())
	}
	return err
}

// mostPositions bounds for how many targets positions are remembered.
const mostPositions = 10_000

// positions are those of all targets, also of those without a handler now.
type positions struct {
	at      map[string]moved
	moves   uint64
	changed bool // since the last save
}

type moved struct {
	id wire.ID
	n  uint64 // of the moves, this one
}

func (p *positions) get(to string) position {
	m, ok := p.at[to]
	return position{m.id, ok}
}

func (p *positions) set(to string, id wire.ID) {
	p.moves++
	p.at[to] = moved{id, p.moves}
	p.changed = true
	if len(p.at) > mostPositions {
		p.forgetOldest()
	}
}

// forgetOldest makes room: of a tenth of the targets, those that moved the longest ago.
func (p *positions) forgetOldest() {
	ns := make([]uint64, 0, len(p.at))
	for _, m := range p.at {
		ns = append(ns, m.n)
	}
	slices.Sort(ns)
	limit := ns[len(ns)/10]
	for to, m := range p.at {
		if m.n <= limit {
			delete(p.at, to)
		}
	}
}

func (p *positions) forget(to string) {
	delete(p.at, to)
	p.changed = true
}

func (p *positions) clear() {
	clear(p.at)
	p.changed = true
}

// snapshot is a copy to be saved.
func (p *positions) snapshot(user string) Positions {
	s := Positions{User: user, At: make(map[string]wire.ID, len(p.at))}
	for to, m := range p.at {
		s.At[to] = m.id
	}
	p.changed = false
	return s
}

// position is an id, or none.
type position struct {
	id    wire.ID
	known bool
}
