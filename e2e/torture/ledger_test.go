package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// ledger knows what Redis retained, and when: it reads Redis's append-only file while Redis writes it. There stands every
// change in its order, whoever made it: what the workers appended, what a bound or an expiry took away, what a fault
// deleted. So nothing that was retained for a moment only is missed, and no polling can be too late.
//
// The file has no times. Every few milliseconds a mark with the time is written to Redis, so that what stands between
// two marks has bounds: it happened after the one before it was sent, and before the one behind it was answered.
type ledger struct {
	dir  string // of the append-only files
	rdb  redis.UniversalClient
	stop context.CancelFunc
	wg   sync.WaitGroup

	file *os.File // owned by the reader
	at   int64    // everything before it is in the books
	size int64    // of what is read at once

	mu      sync.Mutex // guards what follows
	sent    time.Time  // when the latest mark in the file was sent
	open    []undated  // what was taken away and has no later bound yet, oldest first
	books   map[string]*book
	queues  map[string][]queued // what the ingress streams hold
	dead    []DeadLetter
	flushes []time.Time
	flushed map[int]bool // numbers of events that a flush found in ingress streams
	wiped   bool         // a history was taken away as a whole
	err     error        // the file cannot be read
}

// book is what is known of one target's histories.
type book struct {
	all     []Stored        // in the order in which they were first appended
	places  map[wire.ID]int // in all
	present []int           // places of those that are in the history, oldest first
	life    int             // how many histories were taken away as a whole
	newest  wire.ID         // the last that was appended
}

// queued is an entry of an ingress stream.
type queued struct {
	id wire.ID
	n  int
}

// undated are entries that were taken away before a mark.
type undated struct {
	before time.Time // the mark behind them was sent then; zero: there is none yet
	list   []leaf
}

// leaf is an entry of a book.
type leaf struct {
	book  *book
	place int
}

const (
	markKey   = "torture:mark"
	markEvery = 20 * time.Millisecond
	readEvery = 20 * time.Millisecond
	readSize  = 1 << 20
)

// newLedger begins to read the append-only files below a directory of Redis's, and to write marks.
func newLedger(dir string, rdb redis.UniversalClient) *ledger {
	l := &ledger{
		dir: filepath.Join(dir, "appendonlydir"), rdb: rdb, size: readSize,
		books: map[string]*book{}, queues: map[string][]queued{}, flushed: map[int]bool{},
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.wg.Go(func() { l.mark(ctx) })
	l.wg.Go(func() {
		for pause(ctx, readEvery) {
			l.read()
		}
	})
	return l
}

func (l *ledger) close() {
	l.stop()
	l.wg.Wait()
	if l.file != nil {
		_ = l.file.Close()
	}
}

// mark writes marks: the time, and that of the latest mark that was answered.
func (l *ledger) mark(ctx context.Context) {
	answered := int64(0)
	for pause(ctx, markEvery) {
		sent := time.Now().UnixMicro()
		if l.rdb.Set(ctx, markKey, fmt.Sprintf("%d %d", sent, answered), 0).Err() == nil {
			answered = sent
		}
		l.rdb.Persist(ctx, historyKey(broken)) // a worker gives any key of a history an expiry
	}
}

// catchUp waits until the books are as new as now.
func (l *ledger) catchUp(ctx context.Context) error {
	now := time.Now()
	for {
		l.mu.Lock()
		sent, err := l.sent, l.err
		l.mu.Unlock()
		if err != nil || sent.After(now) {
			return err
		}
		if !pause(ctx, readEvery) {
			return fmt.Errorf("the append-only file has no mark since %v", sent)
		}
	}
}

// read takes into the books what has been added to the files.
func (l *ledger) read() {
	for {
		next := l.next() // before the end of the present file is looked for: once there is another one, it grows no more
		more, err := l.readFile()
		if err != nil {
			l.mu.Lock()
			l.err = errors.Join(l.err, err)
			l.mu.Unlock()
			return
		}
		if more {
			continue
		}
		if next == "" {
			return
		}
		if l.file != nil {
			_ = l.file.Close()
		}
		if l.file, err = os.Open(next); err != nil {
			return // not there yet
		}
		l.at = 0
	}
}

// next is the file that follows the present one, "" if there is none.
func (l *ledger) next() string {
	present := -1
	if l.file != nil {
		present = incrOf(l.file.Name())
	}
	names, _ := filepath.Glob(filepath.Join(l.dir, "*.incr.aof"))
	slices.SortFunc(names, func(a, b string) int { return incrOf(a) - incrOf(b) })
	for _, name := range names {
		if incrOf(name) > present {
			return name
		}
	}
	return ""
}

// incrOf is the number in the name of an append-only file, such as appendonly.aof.1.incr.aof.
func incrOf(name string) int {
	parts := strings.Split(filepath.Base(name), ".")
	n, err := strconv.Atoi(parts[max(0, len(parts)-3)])
	if err != nil {
		return -1
	}
	return n
}

// readFile takes a piece of the present file into the books. Only whole transactions are taken: when Redis is killed
// in the middle of one, it cuts the file off before it.
func (l *ledger) readFile() (more bool, err error) {
	if l.file == nil {
		return false, nil
	}
	buf := make([]byte, l.size)
	n, err := l.file.ReadAt(buf, l.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	buf = buf[:n]
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := 0
	for {
		commands, length, err := transaction(buf[taken:])
		if err != nil {
			return false, fmt.Errorf("%s at %d: %w", l.file.Name(), l.at+int64(taken), err)
		}
		if length == 0 {
			break
		}
		for _, args := range commands {
			l.take(args)
		}
		taken += length
	}
	l.at += int64(taken)
	if taken == 0 && int64(n) == l.size { // one that is larger than what is read at once
		l.size *= 2
		return true, nil
	}
	return taken > 0 && int64(n) == l.size, nil
}

// transaction reads the commands of one transaction, or a single one. length is 0 if it is not there as a whole.
func transaction(b []byte) (commands [][][]byte, length int, err error) {
	inside := false
	for {
		args, n, err := command(b[length:])
		if err != nil || n == 0 {
			return nil, 0, err
		}
		length += n
		switch {
		case len(args) == 0: // an annotation
		case bytes.EqualFold(args[0], []byte("multi")):
			inside = true
		case bytes.EqualFold(args[0], []byte("exec")):
			inside = false
		default:
			commands = append(commands, args)
		}
		if !inside {
			return commands, length, nil
		}
	}
}

// command reads one command. length is 0 if it is not there as a whole.
func command(b []byte) (args [][]byte, length int, err error) {
	line := func() (text []byte, ok bool) {
		end := bytes.Index(b[length:], []byte("\r\n"))
		if end < 0 {
			return nil, false
		}
		text = b[length : length+end]
		length += end + 2
		return text, true
	}
	head, ok := line()
	if !ok {
		return nil, 0, nil
	}
	if head[0] == '#' {
		return nil, length, nil
	}
	count, err := strconv.Atoi(string(head[1:]))
	if head[0] != '*' || err != nil {
		return nil, 0, fmt.Errorf("no command: %q", head)
	}
	for range count {
		size, ok := line()
		if !ok {
			return nil, 0, nil
		}
		n, err := strconv.Atoi(string(size[1:]))
		if err != nil {
			return nil, 0, fmt.Errorf("no argument: %q", size)
		}
		if length+n+2 > len(b) {
			return nil, 0, nil
		}
		args = append(args, b[length:length+n])
		length += n + 2
	}
	return args, length, nil
}
