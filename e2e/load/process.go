package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Roles of processes, as they stand in results.
const (
	roleGateway   = "gateways"
	roleWorker    = "workers"
	roleRedis     = "redis"
	roleFloor     = "floor"
	roleGenerator = "generator"
	roleOthers    = "others"
)

var roles = []string{roleGateway, roleWorker, roleRedis, roleFloor, roleGenerator, roleOthers}

// process is a server that was started.
type process struct {
	role, name string
	admin      string // address of /readyz, or ""
	log        string // file with what it prints
	cmd        *exec.Cmd
	done       chan struct{} // closed when it has ended and was waited for
}

// start starts a program, which ends with ctx at the latest. Of variables that begin with SLUICE_ it gets only those of env.
func start(ctx context.Context, role, name, dir, path string, args []string, env ...string) (*process, error) {
	p := &process{role: role, name: name, log: filepath.Join(dir, name+".log"), cmd: exec.CommandContext(ctx, path, args...), done: make(chan struct{})}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SLUICE_") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Dir = dir
	p.cmd.SysProcAttr = dieWithParent()
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	err = p.cmd.Start()
	_ = out.Close() // the process has its own
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // it is killed at the end; an earlier end is found by those who wait for it
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// kill ends the process at once: nothing of it is kept.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
}

// err is why the process is not there any more, with its last words.
func (p *process) err() error {
	select {
	case <-p.done:
	default:
		return nil
	}
	text, _ := os.ReadFile(p.log)
	if len(text) > 1500 {
		text = text[len(text)-1500:]
	}
	return fmt.Errorf("%s has ended (%v) and printed last:\n%s", p.name, p.cmd.ProcessState, text)
}

// ready waits until the process says so on its admin address.
func (p *process) ready(ctx context.Context) error {
	var last error
	err := await(ctx, p.name+" is ready", 10*time.Millisecond, func() (bool, uint64, error) {
		_, last = get(ctx, "http://"+p.admin+"/readyz")
		return last == nil, 0, p.err()
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return nil
}

// plain keeps no connection, so that none is left at the end.
var plain = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := plain.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, res.Status)
	}
	return body, err
}

// ports hands out loopback ports below those that the kernel gives to outgoing connections.
var ports = struct {
	sync.Mutex
	next int
}{next: 20000 + rand.IntN(8000)}

func freeAddr() (string, error) {
	ports.Lock()
	defer ports.Unlock()
	for range 4000 {
		ports.next++
		addr := fmt.Sprintf("127.0.0.1:%d", ports.next)
		l, err := net.Listen("tcp", addr)
		if err == nil {
			_ = l.Close()
			return addr, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return "", fmt.Errorf("cannot listen on loopback: %w", err)
		}
	}
	return "", errors.New("no free loopback port from 20000 on")
}
