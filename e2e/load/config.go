package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"
)

// config is what was asked for on the command line.
type config struct {
	scenarios []scenario

	bin        string // directory of gateway and worker
	workers    int
	appendOnly bool // of the Redis that is started

	gateways []netip.AddrPort // of an installation that runs already; empty: start one for each scenario
	redis    *redis.Options   // its Redis
	prefix   string
	token    string
	secret   []byte
	anywhere bool

	via     string
	size    int
	time    time.Duration // of one measurement
	settle  time.Duration // before the last look at idle connections
	scale   float64
	loops   int
	timeout time.Duration
	out     string
	profile string
	id      string // in the names of all targets, so that runs do not meet
}

const (
	viaPartition = "partition"
	viaIntake    = "intake"

	maxSize    = 60_000
	maxTime    = 10 * time.Minute
	maxTimeout = 6 * time.Hour
)

// parse reads the command line. secret is that of SLUICE_JWT_SECRET. usage gets the help when it was asked for.
func parse(ctx context.Context, args []string, secret string, usage io.Writer) (*config, error) {
	c := &config{secret: []byte(secret), id: strconv.FormatInt(time.Now().Unix()%1e6, 36)}
	var urls, redisURL string
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&c.bin, "bin", "bin", "`directory` of the built gateway and worker, which are started for each scenario with a redis-server")
	f.IntVar(&c.workers, "workers", 1, "workers to start")
	f.BoolVar(&c.appendOnly, "appendonly", true, "start Redis with its append-only file, as the README tells to")
	f.StringVar(&urls, "url", "", "start nothing: the gateways of a running installation, as `ws://host:port,...`; needs -redis")
	f.StringVar(&redisURL, "redis", "", "the installation's SLUICE_REDIS_URL (no Cluster, no Sentinels)")
	f.StringVar(&c.prefix, "prefix", "sluice:", "the installation's SLUICE_PREFIX")
	f.StringVar(&c.token, "token", "dev:{user}", "token of the clients, {user} stands for the name; with SLUICE_JWT_SECRET in the environment tokens are signed with it instead")
	f.BoolVar(&c.anywhere, "anywhere", false, "let -url and -redis be on other machines: only on those that are yours to load")
	f.StringVar(&c.via, "via", viaPartition, "where events are added: `partition` (the target's own stream) or intake")
	f.IntVar(&c.size, "size", 256, fmt.Sprintf("`bytes` of an event's data, %d to %d", minData, maxSize))
	f.DurationVar(&c.time, "time", 8*time.Second, "length of one measurement")
	f.DurationVar(&c.settle, "settle", 30*time.Second, "how long idle connections rest before they are measured")
	f.Float64Var(&c.scale, "scale", 1, "multiplies the numbers of clients and targets and the rates, 0.01 to 10; goals count at 1")
	f.IntVar(&c.loops, "loops", 1, "threads that receive")
	f.DurationVar(&c.timeout, "timeout", 30*time.Minute, "the whole run is given up after this")
	f.StringVar(&c.out, "out", "load-report", "`directory` for result.json and report.html")
	f.StringVar(&c.profile, "profile", "", "`directory` for CPU profiles of a gateway and a worker in each measurement, and a heap profile of the idle gateway")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			describe(usage, f)
		}
		return nil, err
	}
	var err error
	if c.scenarios, err = chosen(f.Args(), urls != ""); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if urls != "" || redisURL != "" {
		err = c.attach(ctx, urls, redisURL)
	}
	return c, err
}

func (c *config) check() error {
	for _, rule := range []struct {
		ok   bool
		want string
	}{
		{c.via == viaPartition || c.via == viaIntake, "-via is partition or intake"},
		{c.size >= minData && c.size <= maxSize, fmt.Sprintf("-size is from %d to %d", minData, maxSize)},
		{c.time > 0 && c.time <= maxTime, "-time is more than 0 and at most " + maxTime.String()},
		{c.settle >= 0 && c.settle <= maxTime, "-settle is from 0 to " + maxTime.String()},
		{c.scale >= 0.01 && c.scale <= 10, "-scale is from 0.01 to 10"},
		{c.loops >= 1 && c.loops <= 64, "-loops is from 1 to 64"},
		{c.workers >= 1 && c.workers <= 16, "-workers is from 1 to 16"},
		{c.timeout > 0 && c.timeout <= maxTimeout, "-timeout is more than 0 and at most " + maxTimeout.String()},
	} {
		if !rule.ok {
			return errors.New(rule.want)
		}
	}
	return nil
}

// attach reads where a running installation is, and refuses what is not this machine unless that is allowed.
func (c *config) attach(ctx context.Context, urls, redisURL string) error {
	if urls == "" || redisURL == "" {
		return errors.New("-url and -redis belong together: events are added to Redis, and clients connect to the gateways")
	}
	for _, s := range c.scenarios {
		if s.own {
			return fmt.Errorf("the scenario %s measures processes that it has started itself: leave -url out, or name other scenarios", s.name)
		}
	}
	var err error
	if c.redis, err = redis.ParseURL(redisURL); err != nil {
		return errors.New("-redis is no redis:// or rediss:// URL of a single server") // its error may quote a password
	}
	host, _, err := net.SplitHostPort(c.redis.Addr)
	if err != nil {
		return errors.New("-redis has no host and port")
	}
	if _, err = c.resolve(ctx, "-redis", host); err != nil {
		return err
	}
	for one := range strings.SplitSeq(urls, ",") {
		u, err := url.Parse(one)
		if err != nil || u.Scheme != "ws" || u.Hostname() == "" {
			return fmt.Errorf("-url has %q: want ws://host:port; TLS is left to the load balancer before the gateways", one)
		}
		addr, err := c.resolve(ctx, "-url", u.Hostname())
		if err != nil {
			return err
		}
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if u.Port() == "" {
			port, err = 80, nil
		}
		if err != nil {
			return fmt.Errorf("-url has the port %q: want a number up to 65535", u.Port())
		}
		c.gateways = append(c.gateways, netip.AddrPortFrom(addr, uint16(port)))
	}
	return nil
}

// resolve is the host's address. Whatever is behind a name must be loopback, unless -anywhere is given.
func (c *config) resolve(ctx context.Context, name, host string) (netip.Addr, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(addrs) == 0 {
		return netip.Addr{}, fmt.Errorf("%s: cannot find the address of %s: %w", name, host, err)
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
		if !addrs[i].IsLoopback() && !c.anywhere {
			return netip.Addr{}, fmt.Errorf("%s is on another machine (%s is %s): a load test can take it down; "+
				"if it is yours to load, add -anywhere", name, host, addrs[i])
		}
	}
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() }) // IPv4 first: it has many loopback addresses
	return addrs[0], nil
}

// n scales a number of things.
func (c *config) n(full int) int { return max(1, int(math.Round(float64(full)*c.scale))) }

// tokenFor is the token of a user.
func (c *config) tokenFor(user string) string {
	if len(c.secret) == 0 {
		return strings.ReplaceAll(c.token, "{user}", user)
	}
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": user, "exp": time.Now().Add(24 * time.Hour).Unix(),
		"sluice": map[string]any{"subscribe": []string{"topic:*"}},
	})
	signed, err := t.SignedString(c.secret)
	if err != nil {
		panic(err) // HS256 signs with any key
	}
	return signed
}

func describe(w io.Writer, f *flag.FlagSet) {
	fmt.Fprintln(w, "Usage: load [flags] [scenario ...]\n\n"+
		"Loads gateways, workers and Redis, measures what they take for it, and compares with floors measured in the same\n"+
		"run. Without -url it starts everything itself, from -bin. Scenarios, all by default:")
	for _, s := range scenarios {
		fmt.Fprintf(w, "  %-9s %s\n", s.name, s.title)
	}
	fmt.Fprintln(w, "\nFlags:")
	f.SetOutput(w)
	f.PrintDefaults()
}
