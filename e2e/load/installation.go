package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// installation is what is measured: gateways, workers and Redis.
type installation struct {
	cfg       *config
	gateways  []netip.AddrPort
	options   *redis.Options
	rdb       *redis.Client
	prefix    string
	tags      []string   // of the partitions
	processes []*process // none if it was running already
	dir       string
}

// install starts gateways and workers with a Redis of their own and these variables more, or takes the installation
// that runs.
func install(ctx context.Context, cfg *config, gateways int, env ...string) (in *installation, err error) {
	in = &installation{cfg: cfg, prefix: "sluice:"}
	defer func() {
		if err != nil {
			in.close()
		}
	}()
	if len(cfg.gateways) > 0 {
		in.gateways, in.options, in.prefix = cfg.gateways, cfg.redis, cfg.prefix
	} else if err := in.start(ctx, gateways, env); err != nil {
		return nil, err
	}
	in.connect()
	for limit := time.Now().Add(patience); len(in.tags) == 0; nap(10 * time.Millisecond) {
		var tags string
		tags, err = in.rdb.HGet(ctx, in.prefix+"meta", "tags").Result()
		in.tags = strings.Fields(tags)
		if err != nil && (len(in.processes) == 0 || time.Now().After(limit)) {
			return nil, fmt.Errorf("no tags of partitions are in %smeta on Redis at %s: no gateway or worker with this prefix has ever run there (%w)",
				in.prefix, in.options.Addr, err)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return in, nil
}

func (in *installation) connect() {
	o := *in.options
	o.MaxRetries, o.Protocol, o.DisableIdentity, o.PoolSize = -1, 2, true, 4
	o.ReadTimeout = 30 * time.Second // a Redis under load
	in.rdb = redis.NewClient(&o)
}

func (in *installation) start(ctx context.Context, gateways int, env []string) (err error) {
	for _, name := range []string{"gateway", "worker"} {
		if _, err := os.Stat(filepath.Join(in.cfg.bin, name)); err != nil {
			return fmt.Errorf("no %s in %s (run `make build`): %w", name, in.cfg.bin, err)
		}
	}
	if in.dir, err = tempDir(); err != nil {
		return err
	}
	if err := in.startRedis(ctx); err != nil {
		return err
	}
	env = append([]string{"SLUICE_REDIS_URL=redis://" + in.options.Addr, "SLUICE_AUTH=dev"}, env...)
	program := func(role, name string) error {
		addr, err1 := freeAddr()
		admin, err2 := freeAddr()
		path, err3 := filepath.Abs(filepath.Join(in.cfg.bin, strings.TrimRight(name, "-0123456789")))
		if err := errors.Join(err1, err2, err3); err != nil {
			return err
		}
		p, err := start(ctx, role, name, in.dir, path, nil, append(env, "SLUICE_ADDR="+addr, "SLUICE_ADMIN_ADDR="+admin, "SLUICE_SERVER_ID=load-"+name)...)
		if err != nil {
			return err
		}
		p.admin = admin
		in.processes = append(in.processes, p)
		if role == roleGateway {
			in.gateways = append(in.gateways, netip.MustParseAddrPort(addr))
		}
		return nil
	}
	for i := range in.cfg.workers {
		if err := program(roleWorker, fmt.Sprintf("worker-%d", i+1)); err != nil {
			return err
		}
	}
	for i := range gateways {
		if err := program(roleGateway, fmt.Sprintf("gateway-%d", i+1)); err != nil {
			return err
		}
	}
	for _, p := range in.processes[1:] {
		if err := p.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

func tempDir() (string, error) { return os.MkdirTemp("", "sluice-load-") }

// startRedis starts a Redis that nobody else uses. Its append-only file is not rewritten, so that measurements are alike.
func (in *installation) startRedis(ctx context.Context) error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return errors.New("there is no redis-server on the PATH to start (Debian's package: redis-server)")
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	appendOnly := "no"
	if in.cfg.appendOnly {
		appendOnly = "yes"
	}
	p, err := start(ctx, roleRedis, "redis", in.dir, path, []string{
		"--bind", "127.0.0.1", "--port", addr[strings.LastIndexByte(addr, ':')+1:], "--dir", in.dir, "--save", "",
		"--appendonly", appendOnly, "--auto-aof-rewrite-percentage", "0", "--maxmemory-policy", "noeviction",
	})
	if err != nil {
		return err
	}
	in.processes = append(in.processes, p)
	in.options = &redis.Options{Addr: addr}
	in.connect()
	defer func() { _ = in.rdb.Close() }() // the one that stays is made by the caller
	for limit := time.Now().Add(patience); ; nap(10 * time.Millisecond) {
		err := in.rdb.Ping(ctx).Err()
		if err == nil {
			return nil
		}
		if dead := p.err(); dead != nil {
			return dead
		}
		if time.Now().After(limit) || ctx.Err() != nil {
			return fmt.Errorf("redis-server at %s does not answer: %w", addr, err)
		}
	}
}

// close ends what was started, and removes what it has written.
func (in *installation) close() {
	if in.rdb != nil {
		_ = in.rdb.Close()
	}
	for _, p := range in.processes {
		p.kill()
	}
	if in.dir != "" {
		_ = os.RemoveAll(in.dir)
	}
}

// alive is an error if a process has ended.
func (in *installation) alive() error {
	for _, p := range in.processes {
		if err := p.err(); err != nil {
			return err
		}
	}
	return nil
}

// role are the processes of one role.
func (in *installation) role(role string) (found []*process) {
	for _, p := range in.processes {
		if p.role == role {
			found = append(found, p)
		}
	}
	return found
}

// user is a client with a token for it, on the gateways in turn.
func (in *installation) user(i int, name string) spec {
	return spec{gateway: in.gateways[i%len(in.gateways)], user: name, token: in.cfg.tokenFor(name)}
}

// name is unique among runs.
func (in *installation) name(kind string, i int) string {
	return fmt.Sprintf("load-%s-%s-%d", in.cfg.id, kind, i)
}

// events are the streams to which a producer adds.
func (in *installation) events(via string) []string {
	if via == viaIntake {
		return []string{in.prefix + "events"}
	}
	streams := make([]string, len(in.tags))
	for p, tag := range in.tags {
		streams[p] = in.prefix + "{" + tag + "}:events"
	}
	return streams
}

func (in *installation) producer(ctx context.Context, via string, size int) (*producer, error) {
	return newProducer(ctx, in.options, in.events(via), size)
}

// backlog is how many entries wait for workers.
func (in *installation) backlog(ctx context.Context) (int64, error) {
	streams := append(in.events(viaPartition), in.events(viaIntake)...)
	pipe := in.rdb.Pipeline()
	groups := make([]*redis.XInfoGroupsCmd, len(streams))
	for i, s := range streams {
		groups[i] = pipe.XInfoGroups(ctx, s)
	}
	_, _ = pipe.Exec(ctx) // streams that are not there yet answer with an error
	waiting := int64(0)
	for _, g := range groups {
		list, err := g.Result()
		if err != nil && !redis.HasErrorPrefix(err, "ERR no such key") {
			return 0, fmt.Errorf("cannot read the backlog: %w", err)
		}
		for _, one := range list {
			if strings.HasPrefix(one.Name, "workers-") {
				waiting += max(0, one.Lag) + one.Pending
			}
		}
	}
	return waiting, nil
}

// worked waits until the workers have done everything.
func (in *installation) worked(ctx context.Context) error {
	least, limit := int64(1)<<62, time.Now().Add(patience)
	for {
		n, err := in.backlog(ctx)
		if err != nil || n == 0 {
			return err
		}
		if n < least {
			least, limit = n, time.Now().Add(patience)
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%d events wait, and no worker has taken one for %v: look at the workers' logs", n, patience)
		}
		if err := errors.Join(in.alive(), ctx.Err()); err != nil {
			return err
		}
		nap(5 * time.Millisecond)
	}
}
