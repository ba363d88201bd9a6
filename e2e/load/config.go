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
	f.BoolVar(&c.appendOnly, "appendonly", true, "start Redis with its append-only file, as the README says")
	f.StringVar(&urls, "url", "", "start nothing: the gateways of a running installation, which should have SLUICE_LIMITS=off, as `ws://host:port,...`; needs -redis")
	f.StringVar(&redisURL, "redis", "", "the installation's SLUICE_REDIS_URL (no Cluster, no Sentinels)")
	f.StringVar(&c.prefix, "prefix", "sluice:", "the installation's SLUICE_PREFIX")
	f.StringVar(&c.token, "token", "dev:{user}", "token of the clients, {user} stands for the name; with SLUICE_JWT_SECRET in the environment tokens are signed with it instead")
	f.BoolVar(&c.anywhere, "anywhere", false, "allow -url and -redis on other machines: only use it for machines that you may load")
	f.StringVar(&c.via, "via", viaPartition, "where events are added: to the target's own stream (partition), or to the `stream` for all (intake)")
	f.IntVar(&c.size, "size", 256, "`bytes` of an event's data")
	f.DurationVar(&c.time, "time", 8*time.Second, "length of one measurement")
	f.DurationVar(&c.settle, "settle", 30*time.Second, "how long idle connections rest before they are measured")
	f.Float64Var(&c.scale, "scale", 1, "multiplies the numbers of clients and targets and the rates; the goals are for 1")
	f.IntVar(&c.loops, "loops", 1, "threads that receive")
	f.DurationVar(&c.timeout, "timeout", 30*time.Minute, "the time after which the whole run is stopped")
	f.StringVar(&c.out, "out", "load-report", "`directory` for result.json and report.html")
	f.StringVar(&c.profile, "profile", "", "`directory` for CPU profiles of a gateway and a worker in each measurement, and a heap profile of the idle gateway")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			c.describe(usage, f)
		}
		return nil, err
	}
	var err error
	if c.scenarios, err = chosen(f.Args(), urls != ""); err != nil {
		return nil, err
	}
	if err := c.check(f); err != nil {
		return nil, err
	}
	if urls != "" || redisURL != "" {
		err = c.attach(ctx, urls, redisURL)
	}
	return c, err
}

// bounds are those of the flags, for the check and for -h.
func (c *config) bounds() []bound {
	return []bound{
		{"via", c.via == viaPartition || c.via == viaIntake, "partition or intake"},
		{"size", c.size >= minData && c.size <= maxSize, fmt.Sprintf("from %d to %d", minData, maxSize)},
		{"time", c.time > 0 && c.time <= maxTime, "more than 0 and at most " + maxTime.String()},
		{"settle", c.settle >= 0 && c.settle <= maxTime, "from 0 to " + maxTime.String()},
		{"scale", c.scale >= 0.01 && c.scale <= 10, "from 0.01 to 10"},
		{"loops", c.loops >= 1 && c.loops <= 64, "from 1 to 64"},
		{"workers", c.workers >= 1 && c.workers <= 16, "from 1 to 16"},
		{"timeout", c.timeout > 0 && c.timeout <= maxTimeout, "more than 0 and at most " + maxTimeout.String()},
	}
}

type bound struct {
	flag    string
	ok      bool
	allowed string
}

// check tells every flag that is wrong.
func (c *config) check(f *flag.FlagSet) error {
	var mistakes []error
	for _, b := range c.bounds() {
		if !b.ok {
			mistakes = append(mistakes, fmt.Errorf("-%s is %s, not %s", b.flag, b.allowed, f.Lookup(b.flag).Value))
		}
	}
	return errors.Join(mistakes...)
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
		return errors.New("-redis must be a redis:// or rediss:// URL of a single server") // its error may quote a password
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
			return fmt.Errorf("-url has %q: want ws://host:port; TLS is a matter of the load balancer before the gateways", one)
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

func (c *config) describe(w io.Writer, f *flag.FlagSet) {
	for _, b := range c.bounds() {
		f.Lookup(b.flag).Usage += "; allowed: " + b.allowed
	}
	fmt.Fprintln(w, "Usage: load [flags] [scenario ...]\n\n"+
		"Loads gateways, workers and Redis, measures what they use for it, and compares with floors measured in the same\n"+
		"run. Without -url it starts everything itself, from -bin. Scenarios, all by default:")
	for _, s := range scenarios {
		fmt.Fprintf(w, "  %-9s %s\n", s.name, s.title)
	}
	fmt.Fprintln(w, "\nFlags:")
	f.SetOutput(w)
	f.PrintDefaults()
}
