package torture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// aof reads what a Redis server adds to its append-only file, while it is added, one file after the other. What a
// rewrite writes again, the base, is left out: it is not new.
type aof struct {
	dir  string
	file *os.File // nil: there is none yet
	at   int64    // everything before it was handed over
	size int64    // of what is read at once
}

const readSize = 1 << 20

// newAOF reads the append-only files below a directory of a server's.
func newAOF(dir string) *aof {
	return &aof{dir: filepath.Join(dir, "appendonlydir"), size: readSize}
}

func (a *aof) close() {
	if a.file != nil {
		_ = a.file.Close()
	}
}

// read hands over what has been added to the files, one transaction or command at a time.
func (a *aof) read(take func(commands [][][]byte)) error {
	for {
		next := a.next() // before the end of the present file is looked for: once there is another one, it grows no more
		more, err := a.readFile(take)
		if err != nil {
			return err
		}
		if more {
			continue
		}
		if next == "" {
			return nil
		}
		a.close()
		if a.file, err = os.Open(next); err != nil {
			a.file = nil
			return nil //nolint:nilerr // not there yet, or not any more
		}
		a.at = 0
	}
}

// next is the file that follows the present one, "" if there is none.
func (a *aof) next() string {
	present := -1
	if a.file != nil {
		present = incrOf(a.file.Name())
	}
	names, _ := filepath.Glob(filepath.Join(a.dir, "*.incr.aof"))
	slices.SortFunc(names, func(x, y string) int { return incrOf(x) - incrOf(y) })
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

// readFile hands over a piece of the present file. Only whole transactions are taken: when Redis is killed in the middle
// of one, it cuts the file off before it.
func (a *aof) readFile(take func(commands [][][]byte)) (more bool, err error) {
	if a.file == nil {
		return false, nil
	}
	buf := make([]byte, a.size)
	n, err := a.file.ReadAt(buf, a.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	buf = buf[:n]
	taken := 0
	for {
		commands, length, err := transaction(buf[taken:])
		if err != nil {
			return false, fmt.Errorf("%s at %d: %w", a.file.Name(), a.at+int64(taken), err)
		}
		if length == 0 {
			break
		}
		take(commands)
		taken += length
	}
	a.at += int64(taken)
	if taken == 0 && int64(n) == a.size { // one that is larger than what is read at once
		a.size *= 2
		return true, nil
	}
	return taken > 0 && int64(n) == a.size, nil
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
