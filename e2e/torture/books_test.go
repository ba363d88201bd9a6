package torture

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// take books a command of the append-only file. In it expiries are deletions, and no bound is approximate.
func (l *ledger) take(args [][]byte) {
	text := make([]string, 0, 8)
	for _, a := range args[:min(len(args), 8)] {
		text = append(text, string(a))
	}
	switch strings.ToLower(text[0]) {
	case "set":
		if text[1] == markKey {
			l.date(text[2])
		}
	case "xadd":
		l.added(text[1], args)
	case "xtrim":
		if to, ok := targetOf(text[1]); ok {
			l.book(to).bound(l, text[2:])
		} else if q, ok := l.queues[text[1]]; ok {
			l.queues[text[1]] = q[excess(text[2:], len(q), func(i int) wire.ID { return q[i].id }):]
		}
	case "del", "unlink":
		for _, a := range args[1:] {
			if to, ok := targetOf(string(a)); ok {
				l.book(to).wipe(l, Evicted)
			}
			delete(l.queues, string(a))
		}
	case "flushall", "flushdb":
		l.flush()
	}
}

// targetOf is the target of a history's key.
func targetOf(key string) (to string, ok bool) {
	_, to, ok = strings.Cut(key, ":history:")
	return to, ok
}

func (l *ledger) book(to string) *book {
	b := l.books[to]
	if b == nil {
		b = &book{places: map[wire.ID]int{}}
		l.books[to] = b
	}
	return b
}

// date takes a mark: what was taken away before it has a later bound when it is known to have been answered.
func (l *ledger) date(mark string) {
	text, confirmed, _ := strings.Cut(mark, " ")
	sent, answered := micros(text), micros(confirmed)
	if sent.After(l.sent) {
		l.sent = sent
	}
	for i := range l.open {
		if l.open[i].before.IsZero() {
			l.open[i].before = sent
		}
	}
	for len(l.open) > 0 && !l.open[0].before.After(answered) {
		for _, e := range l.open[0].list {
			e.book.all[e.place].Gone = sent
		}
		l.open = l.open[1:]
	}
}

func micros(text string) time.Time {
	n, _ := strconv.ParseInt(text, 10, 64)
	return time.UnixMicro(n)
}

// entryOf takes an XADD apart: the entry, and the bound that it sets, nil for none.
func entryOf(args [][]byte) (m redis.XMessage, id wire.ID, bound []string, err error) {
	i := 2
	for ; i < len(args); i++ {
		switch word := strings.ToLower(string(args[i])); word {
		case "nomkstream":
			continue
		case "maxlen", "minid":
			bound = []string{word}
			if i++; string(args[i]) == "=" || string(args[i]) == "~" {
				i++
			}
			bound = append(bound, string(args[i]))
			continue
		case "limit":
			i++
			continue
		}
		break
	}
	m = redis.XMessage{ID: string(args[i]), Values: map[string]any{}}
	for i++; i+1 < len(args); i += 2 {
		m.Values[string(args[i])] = string(args[i+1])
	}
	id, err = wire.ParseID(m.ID)
	return m, id, bound, err
}

// storedOf is an entry of a history.
func storedOf(m redis.XMessage, id wire.ID) Stored {
	prev, _ := m.Values["prev"].(string)
	s := Stored{ID: id, N: numberOf(m, "")}
	s.Prev, _ = wire.ParseID(prev)
	return s
}

// isIngress: of a partition, or the intake.
func isIngress(key string) bool { return key == intakeStream || strings.HasSuffix(key, "}:events") }

// added books an XADD: an event in a history, an entry of an ingress stream, or a dead letter.
func (l *ledger) added(key string, args [][]byte) {
	m, id, bound, err := entryOf(args)
	if err != nil {
		return
	}
	to, history := targetOf(key)
	switch {
	case history:
		b := l.book(to)
		s := storedOf(m, id)
		s.Life, s.Era = b.life, len(l.flushes)
		b.add(s)
		if bound != nil {
			b.bound(l, bound)
		}
	case key == deadStream:
		if letters, err := deadLetters([]redis.XMessage{m}); err == nil {
			for i := range letters {
				letters[i].Era = len(l.flushes)
			}
			l.dead = append(l.dead, letters...)
		}
	case isIngress(key):
		l.queues[key] = append(l.queues[key], queued{id, numberOf(m, "")})
	case strings.HasSuffix(key, "}:calls"):
		if c, ok := wire.ParseCall(m.Values); ok && c.Kind == wire.UnreadKind {
			l.told = append(l.told, Told{wire.UserTarget(c.User), c.Event, len(l.flushes)})
		}
	case strings.HasSuffix(key, "}:acks"):
		if a, ok := wire.ParseAck(m.Values); ok && a.Device != "" && a.To == wire.UserTarget(a.User) {
			l.acks = append(l.acks, Receipt{a.To, a.ID, time.UnixMilli(int64(id.Ms))}) // by Redis's clock
		}
	}
}

// add books an event. One that stood in an earlier history and is appended again, as a worker does that cannot know,
// counts as gone since it went first: nobody is accused of what it cannot have been sure of.
func (b *book) add(s Stored) {
	b.newest = s.ID
	place, again := b.places[s.ID]
	if again {
		old := b.all[place]
		s.Trimmed, s.Gone, s.Wiped = old.Trimmed, old.Gone, old.Wiped
		b.all[place] = s
	} else {
		place = len(b.all)
		b.places[s.ID] = place
		b.all = append(b.all, s)
	}
	b.present = append(b.present, place)
}

// bound books what a bound takes away: MAXLEN or MINID, and its value.
func (b *book) bound(l *ledger, words []string) {
	n := excess(words, len(b.present), func(i int) wire.ID { return b.all[b.present[i]].ID })
	if n > 0 && n == len(b.present) { // empty: what comes next may begin again
		b.wipe(l, Evicted)
		return
	}
	b.take(l, n, Kept)
}

// excess is how many of the first entries go.
func excess(words []string, length int, id func(i int) wire.ID) (n int) {
	limit := words[len(words)-1]
	for i, w := range words { // a LIMIT may stand behind it
		if w == "=" || w == "~" {
			limit = words[i+1]
			break
		}
	}
	if strings.EqualFold(words[0], "maxlen") {
		keep, err := strconv.Atoi(limit)
		if err != nil {
			return 0
		}
		return max(0, length-keep)
	}
	if !strings.Contains(limit, "-") {
		limit += "-0"
	}
	least, err := wire.ParseID(limit)
	if err != nil {
		return 0
	}
	for n < length && id(n).Less(least) {
		n++
	}
	return n
}

// take books that the first n entries have gone.
func (b *book) take(l *ledger, n int, how Wipe) {
	if n == 0 {
		return
	}
	if len(l.open) == 0 || !l.open[len(l.open)-1].before.IsZero() {
		l.open = append(l.open, undated{})
	}
	last := &l.open[len(l.open)-1]
	for _, place := range b.present[:n] {
		if b.all[place].Trimmed.IsZero() {
			b.all[place].Trimmed, b.all[place].Wiped = l.sent, how
			last.list = append(last.list, leaf{b, place})
		}
	}
	b.present = b.present[n:]
}

// wipe books that a history has gone as a whole.
func (b *book) wipe(l *ledger, how Wipe) {
	l.wiped = l.wiped || len(b.present) > 0
	b.take(l, len(b.present), how)
	b.life++
}

func (l *ledger) flush() {
	for _, b := range l.books {
		b.wipe(l, Flushed)
	}
	for _, q := range l.queues {
		for _, e := range q {
			l.flushed[e.n] = true
		}
	}
	clear(l.queues)
	l.flushes = append(l.flushes, l.sent)
}

// newest is the last event that was appended to a target's history, and whether that is empty now.
func (l *ledger) newest(to string) (id wire.ID, empty bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.books[to]
	if b == nil {
		return wire.ID{}, true
	}
	return b.newest, len(b.present) == 0
}

// emptied reports whether any history was taken away as a whole.
func (l *ledger) emptied() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wiped
}

// histories are all that were ever there, in the order of ids.
func (l *ledger) histories() map[string][]Stored {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[string][]Stored{}
	for to, b := range l.books {
		if len(b.all) > 0 {
			all[to] = slices.SortedFunc(slices.Values(b.all), func(a, b Stored) int { return compare(a.ID, b.ID) })
		}
	}
	return all
}
