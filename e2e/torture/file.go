package torture

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"sluice/shared/wire"
)

// sorted are the keys of a map in their order.
func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// record is a line of a file that holds a log: JSON, with one of these.
type record struct {
	Config  *Config     `json:"config,omitempty"`
	Append  *Append     `json:"append,omitempty"`
	Stored  *Stored     `json:"stored,omitempty"` // in the history of To
	To      string      `json:"to,omitempty"`
	Dead    *DeadLetter `json:"dead,omitempty"`
	Flush   *time.Time  `json:"flush,omitempty"`
	Flushed []int       `json:"flushed,omitempty"`
	Fault   *Fault      `json:"fault,omitempty"`
	Client  *Client     `json:"client,omitempty"` // what follows until the next one are its frames
	Frame   *Frame      `json:"frame,omitempty"`
	Heard   *Heard      `json:"heard,omitempty"`
	Told    *Told       `json:"told,omitempty"`
	Receipt *Receipt    `json:"receipt,omitempty"`
}

// Save writes a log to a file, compressed if its name ends with .gz.
func (l *Log) Save(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	defer func() { err = errors.Join(err, w.Flush()) }()
	if !strings.HasSuffix(path, ".gz") {
		return l.write(w)
	}
	z := gzip.NewWriter(w)
	return errors.Join(l.write(z), z.Close())
}

func (l *Log) write(w io.Writer) (err error) {
	lines := json.NewEncoder(w)
	put := func(r record) { err = errors.Join(err, lines.Encode(r)) }
	put(record{Config: &l.Config})
	for i := range l.Appends {
		put(record{Append: &l.Appends[i]})
	}
	for _, to := range sorted(l.Histories) {
		for i := range l.Histories[to] {
			put(record{To: to, Stored: &l.Histories[to][i]})
		}
	}
	for i := range l.Dead {
		put(record{Dead: &l.Dead[i]})
	}
	for i := range l.Flushes {
		put(record{Flush: &l.Flushes[i]})
	}
	if len(l.Flushed) > 0 {
		put(record{Flushed: sorted(l.Flushed)})
	}
	for i := range l.Faults {
		put(record{Fault: &l.Faults[i]})
	}
	for i := range l.Heard {
		put(record{Heard: &l.Heard[i]})
	}
	for i := range l.Told {
		put(record{Told: &l.Told[i]})
	}
	for i := range l.Receipts {
		put(record{Receipt: &l.Receipts[i]})
	}
	for _, c := range l.Clients {
		put(record{Client: c})
		for i := range c.Frames {
			put(record{Frame: &c.Frames[i]})
		}
	}
	return err
}

// Load reads a file that Save wrote.
func Load(path string) (*Log, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var r io.Reader = bufio.NewReader(f)
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	l := &Log{Histories: map[string][]Stored{}, Flushed: map[int]bool{}}
	lines := json.NewDecoder(r)
	lines.DisallowUnknownFields()
	for n := 1; ; n++ {
		var r record
		switch err := lines.Decode(&r); {
		case errors.Is(err, io.EOF):
			return l, nil
		case err != nil:
			return nil, fmt.Errorf("%s, line %d: %w", path, n, err)
		}
		if err := l.take(r); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, n, err)
		}
	}
}

func (l *Log) take(r record) error {
	switch {
	case r.Config != nil:
		l.Config = *r.Config
	case r.Append != nil:
		l.Appends = append(l.Appends, *r.Append)
	case r.Stored != nil:
		l.Histories[r.To] = append(l.Histories[r.To], *r.Stored)
	case r.Dead != nil:
		l.Dead = append(l.Dead, *r.Dead)
	case r.Flush != nil:
		l.Flushes = append(l.Flushes, *r.Flush)
	case r.Fault != nil:
		l.Faults = append(l.Faults, *r.Fault)
	case r.Heard != nil:
		l.Heard = append(l.Heard, *r.Heard)
	case r.Told != nil:
		l.Told = append(l.Told, *r.Told)
	case r.Receipt != nil:
		l.Receipts = append(l.Receipts, *r.Receipt)
	case r.Client != nil:
		l.Clients = append(l.Clients, r.Client)
	case r.Frame != nil && len(l.Clients) > 0:
		c := l.Clients[len(l.Clients)-1]
		c.Frames = append(c.Frames, *r.Frame)
	case len(r.Flushed) > 0:
		for _, n := range r.Flushed {
			l.Flushed[n] = true
		}
	default:
		return errors.New("a line that holds nothing known")
	}
	return nil
}

// Cut is the part of a log that concerns one target, and one client if it is named. It wants of the checker what
// that finds in it.
func (l *Log) Cut(to, client string) *Log {
	part := &Log{Config: l.Config, Histories: map[string][]Stored{}, Flushes: l.Flushes, Flushed: map[int]bool{}, Faults: l.Faults}
	part.Config.Odd = nil
	numbers := map[int]bool{}
	for _, s := range l.Histories[to] {
		part.Histories[to] = append(part.Histories[to], s)
		numbers[s.N] = true
	}
	for _, a := range l.Appends {
		if a.To == to || numbers[a.N] {
			part.Appends = append(part.Appends, a)
			numbers[a.N] = true
		}
	}
	for n := range numbers {
		if l.Flushed[n] {
			part.Flushed[n] = true
		}
	}
	part.Dead = slices.DeleteFunc(slices.Clone(l.Dead), func(d DeadLetter) bool { return !numbers[d.N] })
	part.Heard = slices.DeleteFunc(slices.Clone(l.Heard), func(h Heard) bool { return heardOf(h.ID) != to })
	part.Told = slices.DeleteFunc(slices.Clone(l.Told), func(t Told) bool { return t.To != to })
	part.Receipts = slices.DeleteFunc(slices.Clone(l.Receipts), func(r Receipt) bool { return r.To != to })
	for _, c := range l.Clients {
		if client == c.Name {
			part.Clients = append(part.Clients, c.only(to))
		}
	}
	for _, v := range Check(part).Violations {
		part.Config.Want = append(part.Config.Want, fmt.Sprintf("%v: %s", v.Class, v.Text))
	}
	return part
}

// only is a client as far as one target is concerned.
func (c *Client) only(to string) *Client {
	one := &Client{Name: c.Name}
	var opened *Frame // the connection, if nothing of the target has come on it yet
	idle := true
	for i, f := range c.Frames {
		switch {
		case f.Kind == Connected:
			opened = &c.Frames[i]
		case f.To == to:
			if opened != nil {
				one.Frames = append(one.Frames, *opened)
			}
			one.Frames = append(one.Frames, f)
			opened, idle = nil, false
		case f.Kind == Closed && !idle:
			one.Frames = append(one.Frames, f)
			idle = true
		}
	}
	if c.At[to] {
		one.At = map[string]bool{to: true}
	}
	for _, ids := range []struct{ from, to *map[string]wire.ID }{{&c.Cursors, &one.Cursors}, {&c.Acked, &one.Acked}} {
		if id, ok := (*ids.from)[to]; ok {
			*ids.to = map[string]wire.ID{to: id}
		}
	}
	return one
}
