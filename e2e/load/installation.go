package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
func install(ctx context.Context, cfg *config, gateways int, env ...string) (_ *installation, err error) {
	in := &installation{cfg: cfg, prefix: "sluice:"}
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
	tags, err := in.rdb.HGet(ctx, in.prefix+"meta", "tags").Result()
	if in.tags = strings.Fields(tags); len(in.tags) == 0 {
		return nil, fmt.Errorf("no tags of partitions are in %smeta on Redis at %s: no gateway or worker with this prefix has ever run there (%w)",
			in.prefix, in.options.Addr, err)
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
	env = append([]string{"SLUICE_REDIS_URL=redis://" + in.options.Addr, "SLUICE_AUTH=dev", "SLUICE_LIMITS=off"}, env...)
	program := func(role, name string) error {
		addr, err1 := freeAddr()
		admin, err2 := freeAddr()
		path, err3 := filepath.Abs(filepath.Join(in.cfg.bin, strings.TrimRight(name, "-0123456789")))
		if err := errors.Join(err1, err2, err3); err != nil {
			return err
		}
		p, err := start(ctx, role, name, in.dir, path, nil, append(env, "SLUICE_ADDR="+addr, "SLUICE_ADMIN_ADDR="+admin, "SLUICE_ADMIN_PPROF=true", "SLUICE_SERVER_ID=load-"+name)...)
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
	var last error
	err = await(ctx, "redis-server at "+addr+" answers", 10*time.Millisecond, func() (bool, uint64, error) {
		last = in.rdb.Ping(ctx).Err()
		return last == nil, 0, p.err()
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return nil
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

// users are n clients as like says, each with a user of its own, on the gateways in turn.
func (in *installation) users(kind string, n int, like spec) []spec {
	specs := make([]spec, n)
	for i := range specs {
		s := like
		s.gateway, s.user = in.gateways[i%len(in.gateways)], in.name(kind, i)
		s.token = in.cfg.tokenFor(s.user)
		specs[i] = s
	}
	return specs
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

// worked waits until the workers have done everything but so many events.
func (in *installation) worked(ctx context.Context, but int64) error {
	least := int64(math.MaxInt64)
	return await(ctx, "workers have taken the events that wait (look at their logs)", 5*time.Millisecond, func() (bool, uint64, error) {
		n, err := in.backlog(ctx)
		least = min(least, n)
		return n <= but, uint64(least), errors.Join(err, in.alive())
	})
}

// memory is the resident memory of all processes of a role, in bytes; NaN if they were not started here.
func (in *installation) memory(role string) (float64, error) {
	list := in.role(role)
	if len(list) == 0 {
		return math.NaN(), nil
	}
	sum := 0.0
	for _, p := range list {
		rss, err := rssOf(p.pid())
		if err != nil {
			return 0, err
		}
		sum += rss
	}
	return sum, nil
}

// info is a value of Redis's INFO, "" if it is not there.
func (in *installation) info(ctx context.Context, section, key string) string {
	return in.rdb.InfoMap(ctx, section).Item(section, key)
}

// stat is a count in the section Stats.
func (in *installation) stat(ctx context.Context, key string) float64 {
	n, _ := strconv.ParseFloat(in.info(ctx, "Stats", key), 64)
	return n
}

// calls is how often Redis has run some commands.
func (in *installation) calls(ctx context.Context, commands ...string) (sum float64) {
	ran := in.commands(ctx)
	for _, c := range commands {
		sum += ran[c].calls
	}
	return sum
}

// commandStat is what Redis says of a command: how often it ran, and how long in all.
type commandStat struct{ calls, usec float64 }

// commands are what Redis has run so far. What a script calls counts in it, too, and by itself.
func (in *installation) commands(ctx context.Context) map[string]commandStat {
	all := make(map[string]commandStat)
	for line := range strings.Lines(in.rdb.Info(ctx, "commandstats").Val()) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":")
		if !ok {
			continue
		}
		var c commandStat
		for field := range strings.SplitSeq(rest, ",") {
			what, value, _ := strings.Cut(field, "=")
			n, _ := strconv.ParseFloat(value, 64)
			switch what {
			case "calls":
				c.calls = n
			case "usec":
				c.usec = n
			}
		}
		all[name] = c
	}
	return all
}
