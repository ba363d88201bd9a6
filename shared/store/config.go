package store

import (
	"cmp"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"sluice/shared/settings"
)

// Config is what gateways, workers and producers must agree on.
type Config struct {
	RedisURL         string        `env:"SLUICE_REDIS_URL" envDefault:"redis://127.0.0.1:6379" secret:"url" allow:"redis://[user:password@]host:port[,host:port...][/db], or rediss:// for TLS" help:"Where Redis is: version 7.0 or newer (Valkey is not tested). Several addresses, separated by commas, are a Cluster (of one address: add ?cluster=1); with ?master_name=NAME they are Sentinels."`
	RedisCAFile      string        `env:"SLUICE_REDIS_CA_FILE" allow:"the name of a file with certificates in PEM" help:"Who signs the certificates of Redis and of Sentinels, with rediss://. If it is not set: whom the system believes."`
	RedisCertFile    string        `env:"SLUICE_REDIS_CERT_FILE" allow:"the name of a file with a certificate in PEM" help:"The certificate that is shown to Redis and to Sentinels, with rediss://. A file that changes is read again."`
	RedisKeyFile     string        `env:"SLUICE_REDIS_KEY_FILE" allow:"the name of a file with a key in PEM" help:"The key of SLUICE_REDIS_CERT_FILE."`
	SentinelUser     string        `env:"SLUICE_REDIS_SENTINEL_USER" help:"The ACL user for Sentinels, where SLUICE_REDIS_SENTINEL_PASSWORD is not that of the default one."`
	SentinelPassword string        `env:"SLUICE_REDIS_SENTINEL_PASSWORD" secret:"true" help:"The password for Sentinels; that in SLUICE_REDIS_URL is for Redis only."`
	Prefix           string        `env:"SLUICE_PREFIX" envDefault:"sluice:" max:"64" without:"{ } space" help:"The start of every key, so that several installations can share one Redis."`
	Partitions       int           `env:"SLUICE_PARTITIONS" envDefault:"16" min:"1" max:"1024" help:"The number of partitions. It is written to <prefix>meta at the first start and cannot be changed after that."`
	HistorySize      int           `env:"SLUICE_HISTORY_SIZE" envDefault:"1000" min:"1" max:"1000000" help:"How many events are kept for each target."`
	HistoryBytes     int64         `env:"SLUICE_HISTORY_BYTES" envDefault:"4194304" min:"65536" or:"0" help:"How many bytes of events are kept for each target, the newest one in any case. 0: as many as SLUICE_HISTORY_SIZE events have."`
	MemoryPercent    int           `env:"SLUICE_MAX_MEMORY_PERCENT" envDefault:"80" min:"10" max:"100" or:"0" help:"What clients publish is refused while Redis uses more than so much of its maxmemory, in percent, so that workers have room to bring to clients what waits; from a little below on, workers keep shorter histories. 0: Redis may fill up."`
	HistoryTTL       time.Duration `env:"SLUICE_HISTORY_TTL" envDefault:"24h" min:"1s" max:"8760h" help:"How long the events of a target are kept after its last one."`
	SessionTTL       time.Duration `env:"SLUICE_SESSION_TTL" envDefault:"60s" min:"1s" max:"1h" help:"How long a session is kept that its gateway does not renew."`
	MaxData          int           `env:"SLUICE_MAX_FRAME_BYTES" envDefault:"65536" min:"1024" max:"16777216" help:"The largest data of an event, in bytes; a message of a client may be 4096 bytes longer."`
}

// Validate says what is wrong with the URL, or with what belongs to it.
func (c *Config) Validate() error {
	u, err := c.parse()
	if err == nil {
		return c.secure(u)
	}
	return settings.Invalid{Name: "SLUICE_REDIS_URL", Value: c.RedisURL,
		Allowed: "redis://[user:password@]host:port[,host:port...][/db]: " + err.Error()}
}

// options are those of a client.
func (c *Config) options() (*redis.UniversalOptions, error) {
	u, err := c.parse()
	if err != nil {
		return nil, err
	}
	if err := c.secure(u); err != nil {
		return nil, err
	}
	// A command whose reply was lost must not be sent again behind our back: an XADD
	// would be two entries. Who calls decides what is repeatable. On a Cluster it is the
	// limit of redirects that stands for the limit of retries.
	u.MaxRetries = -1
	u.MaxRedirects = -1
	u.DialerRetries = 1
	u.ContextTimeoutEnabled = true
	u.Protocol = 2
	u.DisableIdentity = true
	u.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	u.DialTimeout = cmp.Or(u.DialTimeout, 2*time.Second)
	u.ReadTimeout = cmp.Or(u.ReadTimeout, 3*time.Second)
	u.WriteTimeout = cmp.Or(u.WriteTimeout, 3*time.Second)
	return u, nil
}

// parse reads RedisURL. Errors never quote it: it may hold a password.
func (c *Config) parse() (*redis.UniversalOptions, error) {
	scheme, rest, ok := strings.Cut(c.RedisURL, "://")
	if !ok {
		return nil, errors.New("it has no ://")
	}
	if scheme = strings.ToLower(scheme); scheme != "redis" && scheme != "rediss" {
		return nil, errors.New("the scheme must be redis or rediss")
	}
	rest, query, _ := strings.Cut(rest, "?")
	rest, path, _ := strings.Cut(rest, "/")
	userinfo := ""
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		userinfo, rest = rest[:i+1], rest[i+1:]
	}
	hosts := strings.Split(rest, ",")
	params, err := url.ParseQuery(query)
	if err != nil {
		return nil, errors.New("the part after ? is malformed")
	}
	master := params.Get("master_name")
	cluster := len(hosts) > 1 && master == ""
	switch params.Get("cluster") {
	case "1":
		cluster = true
	case "":
	default:
		return nil, errors.New("the option cluster must be 1, or absent")
	}
	params.Del("master_name")
	params.Del("cluster")

	u := &redis.UniversalOptions{MasterName: master, IsClusterMode: cluster}
	for _, host := range hosts {
		if host == "" && len(hosts) > 1 {
			return nil, errors.New("a comma has no address after or before it")
		}
		one := scheme + "://" + userinfo + host
		if path != "" {
			one += "/" + path
		}
		if len(params) > 0 {
			one += "?" + params.Encode()
		}
		o, err := redis.ParseURL(one)
		if err != nil {
			return nil, urlError(err)
		}
		if _, port, err := net.SplitHostPort(o.Addr); err != nil || !isPort(port) {
			return nil, errBadPort
		}
		u.Addrs = append(u.Addrs, o.Addr)
		u.Username, u.Password, u.DB, u.TLSConfig = o.Username, o.Password, o.DB, o.TLSConfig
		u.DialTimeout, u.ReadTimeout, u.WriteTimeout, u.PoolSize = o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolSize
	}
	if u.DB < 0 {
		return nil, errors.New("the database number must be 0 or more")
	}
	if cluster && u.DB != 0 {
		return nil, errors.New("a Cluster has no database numbers")
	}
	if u.TLSConfig != nil && (len(hosts) > 1 || master != "") {
		u.TLSConfig.ServerName = "" // each node's own name instead of the last address's
	}
	return u, nil
}

var errBadPort = errors.New("the port must be a number from 1 to 65535")

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// urlError says what is wrong with a URL without quoting it.
func urlError(err error) error {
	text := err.Error()
	if inner := (*url.Error)(nil); errors.As(err, &inner) {
		text = inner.Err.Error()
	}
	switch {
	case strings.HasPrefix(text, "invalid port"):
		return errBadPort
	case strings.HasPrefix(text, "redis: invalid database number"), strings.HasPrefix(text, "redis: invalid URL path"):
		return errors.New("the database number is malformed")
	case strings.HasPrefix(text, "redis: "):
		return errors.New("an option after ? is unknown or malformed")
	}
	return errors.New("user, password or host is malformed; in a user or password write everything but letters, digits and -._~ as %XX")
}

// clusterReload is how soon a client learns of a move of which it had no sign (moved.go).
const clusterReload = 30 * time.Second

// intercept sees each client. A build for tests puts deliberate defects here, which the
// checker of the torture must find.
var intercept = func(redis.UniversalClient) {}

// connect makes a client; nothing is sent yet. Each blocking reader has one of its
// own, so that nothing waits behind it; ownThread: it may hold a thread.
func (c *Config) connect(known *nodes, pool int, ownThread bool) (redis.UniversalClient, error) {
	u, err := c.options()
	if err != nil {
		return nil, err
	}
	if pool > 0 {
		u.PoolSize = pool
	}
	if u.IsClusterMode {
		o := u.Cluster()
		o.ClusterStateReloadInterval = clusterReload
		cluster := redis.NewClusterClient(o)
		findAgain(cluster, known)
		intercept(cluster)
		return cluster, nil
	}
	rdb := redis.NewUniversalClient(u)
	if ownThread {
		// Not as the option Dialer: a Sentinel client would use that for its connections to
		// Sentinels, too, over which several goroutines speak.
		waitInKernel(rdb)
	}
	intercept(rdb)
	return rdb, nil
}
