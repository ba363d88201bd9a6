package inproc_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
)

// command is one request as it stood on the wire.
type command struct {
	args []string
	raw  []byte
}

// is reports whether the command has this name.
func (c command) is(name string) bool { return strings.EqualFold(c.args[0], name) }

// script reports whether the command runs a script with a key that ends so.
func (c command) script(suffix string) bool {
	if !c.is("EVALSHA") && !c.is("EVAL") || len(c.args) < 3 {
		return false
	}
	n, _ := strconv.Atoi(c.args[2])
	for _, key := range c.args[3:min(3+n, len(c.args))] {
		if strings.HasSuffix(key, suffix) {
			return true
		}
	}
	return false
}

// flight is what a client sent in one go.
type flight []command

func (f flight) has(match func(command) bool) bool {
	for _, c := range f {
		if match(c) {
			return true
		}
	}
	return false
}

func (f flight) hasName(name string) bool { return f.has(func(c command) bool { return c.is(name) }) }

func (f flight) raw() []byte {
	var b []byte
	for _, c := range f {
		b = append(b, c.raw...)
	}
	return b
}

func (f flight) String() string {
	names := make([]string, len(f))
	for i, c := range f {
		names[i] = c.args[0]
	}
	return strings.Join(names, " ")
}

// readFlight reads requests until nothing more is there.
func readFlight(r *bufio.Reader) (flight, error) {
	var f flight
	for {
		raw, err := readValue(r)
		if err != nil {
			return f, err
		}
		args, err := parseArgs(raw)
		if err != nil {
			return f, err
		}
		f = append(f, command{args, raw})
		if r.Buffered() == 0 {
			return f, nil
		}
	}
}

// readValue reads one value of RESP2 and returns its bytes.
func readValue(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 {
		return nil, fmt.Errorf("RESP: line %q", line)
	}
	switch line[0] {
	case '+', '-', ':':
		return line, nil
	case '$', '*':
	default:
		return nil, fmt.Errorf("RESP: line %q", line)
	}
	n, err := strconv.Atoi(string(line[1 : len(line)-2]))
	if err != nil {
		return nil, fmt.Errorf("RESP: line %q", line)
	}
	if line[0] == '$' {
		if n < 0 {
			return line, nil
		}
		body := make([]byte, n+2)
		if _, err := io.ReadFull(r, body); err != nil {
			return nil, err
		}
		return append(line, body...), nil
	}
	for range max(n, 0) {
		v, err := readValue(r)
		if err != nil {
			return nil, err
		}
		line = append(line, v...)
	}
	return line, nil
}

// parseArgs takes an array of bulk strings apart.
func parseArgs(raw []byte) ([]string, error) {
	r := bufio.NewReader(bytes.NewReader(raw))
	head, err := r.ReadString('\n')
	if err != nil || head[0] != '*' {
		return nil, fmt.Errorf("RESP: no array: %q", raw)
	}
	n, err := strconv.Atoi(head[1 : len(head)-2])
	if err != nil || n < 1 {
		return nil, fmt.Errorf("RESP: no request: %q", raw)
	}
	args := make([]string, n)
	for i := range args {
		v, err := readValue(r)
		if err != nil {
			return nil, err
		}
		_, body, _ := bytes.Cut(v, []byte("\r\n"))
		if v[0] == '$' {
			body = body[:max(0, len(body)-2)]
		}
		args[i] = string(body)
	}
	return args, nil
}

func TestHelperRESP(t *testing.T) {
	t.Parallel()
	in := "*2\r\n$3\r\nGET\r\n$5\r\na\r\nbc\r\n*4\r\n$7\r\nEVALSHA\r\n$1\r\nx\r\n$1\r\n1\r\n$7\r\n{3}:key\r\n"
	f, err := readFlight(bufio.NewReader(strings.NewReader(in)))
	if err != nil || f.String() != "GET EVALSHA" || f[0].args[1] != "a\r\nbc" || !f[1].script(":key") || f[1].script("x") || string(f.raw()) != in {
		t.Errorf("%v %q", err, f)
	}
	for _, v := range []string{"+OK\r\n", "-ERR x\r\n", ":1\r\n", "$-1\r\n", "*-1\r\n", "$0\r\n\r\n", "*2\r\n*1\r\n:1\r\n$2\r\nab\r\n", "*0\r\n"} {
		raw, err := readValue(bufio.NewReader(strings.NewReader(v + "rest")))
		if err != nil || string(raw) != v {
			t.Errorf("%q gives %q, %v", v, raw, err)
		}
	}
}
