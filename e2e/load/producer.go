package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"sluice/shared/wire"
)

// target is something that events are sent to.
type target struct {
	name string
	sent uint32 // number of the last event
}

// producer appends events to Redis as a service does, with as little work as possible: commands are written by hand and
// their answers only counted. One goroutine uses it.
type producer struct {
	conn    net.Conn
	buf     []byte
	streams []string // as RESP bulk strings: of each partition, or only the intake's
	size    int      // of an event's data, in bytes
	asked   int64    // commands sent

	answered atomic.Int64
	failure  atomic.Pointer[error] // the first one
	reading  sync.WaitGroup
}

// maxUnanswered bounds the commands under way: a producer that is faster than Redis waits.
const maxUnanswered = 20_000

// dialRedis makes a plain connection that is logged in.
func dialRedis(ctx context.Context, o *redis.Options) (net.Conn, *bufio.Reader, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", o.Addr)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot connect to Redis: %w", err)
	}
	if o.TLSConfig != nil {
		conn = tls.Client(conn, o.TLSConfig)
	}
	r := bufio.NewReaderSize(conn, 64<<10)
	var hello []byte
	commands := 0
	if o.Password != "" {
		if o.Username != "" {
			hello = appendCommand(hello, "AUTH", o.Username, o.Password)
		} else {
			hello = appendCommand(hello, "AUTH", o.Password)
		}
		commands++
	}
	if o.DB != 0 {
		hello = appendCommand(hello, "SELECT", strconv.Itoa(o.DB))
		commands++
	}
	_, err = conn.Write(hello)
	for ; commands > 0 && err == nil; commands-- {
		err = skipAnswer(r)
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("cannot log in to Redis at %s: %w", o.Addr, err)
	}
	return conn, r, nil
}

func newProducer(ctx context.Context, o *redis.Options, streams []string, size int) (*producer, error) {
	conn, r, err := dialRedis(ctx, o)
	if err != nil {
		return nil, err
	}
	p := &producer{conn: conn, size: max(size, minData)}
	for _, s := range streams {
		p.streams = append(p.streams, string(appendBulk(nil, s)))
	}
	p.reading.Add(1)
	go func() {
		defer p.reading.Done()
		for {
			err := skipAnswer(r)
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				p.failure.CompareAndSwap(nil, &err)
				var refused answerError
				if !errors.As(err, &refused) {
					return
				}
			}
			p.answered.Add(1)
		}
	}()
	return p, nil
}

func (p *producer) close() {
	_ = p.conn.Close()
	p.reading.Wait()
}

const xaddHead, xaddTo, xaddData = "*7\r\n$4\r\nXADD\r\n", "$1\r\n*\r\n$2\r\nto\r\n", "$4\r\ndata\r\n"

// add writes down the next event for a target; flush sends it.
func (p *producer) add(t *target) {
	t.sent++
	stream := 0
	if len(p.streams) > 1 {
		stream = wire.Partition(t.name, len(p.streams))
	}
	p.buf = append(append(p.buf, xaddHead...), p.streams[stream]...)
	p.fields(t)
}

// addTo writes the same event down once more, for another stream.
func (p *producer) addTo(stream string, t *target) {
	p.buf = appendBulk(append(p.buf, xaddHead...), stream)
	p.fields(t)
}

func (p *producer) fields(t *target) {
	p.buf = append(p.buf, xaddTo...)
	p.buf = appendBulk(p.buf, t.name)
	p.buf = append(p.buf, xaddData...)
	p.buf = append(p.buf, '$')
	p.buf = strconv.AppendInt(p.buf, int64(p.size), 10)
	p.buf = append(p.buf, "\r\n"...)
	p.buf = appendData(p.buf, p.size, t.sent, clock())
	p.buf = append(p.buf, "\r\n"...)
	p.asked++
}

// flush sends what was added. It waits while too much is unanswered.
func (p *producer) flush() error {
	_, err := p.conn.Write(p.buf)
	p.buf = p.buf[:0]
	if err != nil {
		return fmt.Errorf("cannot send events to Redis: %w", err)
	}
	for p.asked-p.answered.Load() > maxUnanswered {
		if err := p.err(); err != nil {
			return err
		}
		nap(100 * time.Microsecond)
	}
	return p.err()
}

func (p *producer) err() error {
	if err := p.failure.Load(); err != nil {
		return fmt.Errorf("an event is refused by Redis: %w", *err)
	}
	return nil
}

// settled waits until everything is answered.
func (p *producer) settled(ctx context.Context) error {
	return await(ctx, "Redis has answered all commands", time.Millisecond, func() (bool, uint64, error) {
		answered := p.answered.Load()
		return answered == p.asked, uint64(answered), p.err()
	})
}

// appendCommand adds a command in the Redis protocol.
func appendCommand(b []byte, args ...string) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(len(args)), 10)
	b = append(b, "\r\n"...)
	for _, a := range args {
		b = appendBulk(b, a)
	}
	return b
}

func appendBulk(b []byte, s string) []byte {
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, "\r\n"...)
	b = append(b, s...)
	return append(b, "\r\n"...)
}

// answerError is what Redis says against a command.
type answerError string

func (e answerError) Error() string { return string(e) }

// skipAnswer reads one answer that is no array.
func skipAnswer(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	switch line[0] {
	case '-':
		return answerError(line[1 : len(line)-2])
	case '$':
		n, err := strconv.Atoi(string(line[1 : len(line)-2]))
		if err == nil && n >= 0 {
			_, err = r.Discard(n + 2)
		}
		return err
	}
	return nil
}
