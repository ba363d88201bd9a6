package store

import (
	"crypto/tls"

	"github.com/redis/go-redis/v9"

	"sluice/shared/certs"
	"sluice/shared/settings"
)

// secure adds to what the URL says: TLS with files of our own, and who we are to Sentinels.
// Errors are a settings.Invalid.
func (c *Config) secure(u *redis.UniversalOptions) error {
	if err := c.secureFits(u); err != nil {
		return err
	}
	u.SentinelUsername, u.SentinelPassword = c.SentinelUser, c.SentinelPassword
	if c.RedisCAFile != "" {
		pool, err := certs.Pool(c.RedisCAFile)
		if err != nil {
			return settings.Invalid{Name: "SLUICE_REDIS_CA_FILE", Value: c.RedisCAFile, Allowed: "a file with certificates in PEM: " + err.Error()}
		}
		u.TLSConfig.RootCAs = pool
	}
	if c.RedisCertFile == "" {
		return nil
	}
	// What is wrong with the files later shows as an error of the commands, which the server refuses.
	pair, err := certs.Load(c.RedisCertFile, c.RedisKeyFile, func(certs.Event) {})
	if err != nil {
		return settings.Invalid{Name: "SLUICE_REDIS_CERT_FILE", Value: c.RedisCertFile, Allowed: "a file with a certificate in PEM, and its key in SLUICE_REDIS_KEY_FILE: " + err.Error()}
	}
	u.TLSConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.Certificate(), nil }
	return nil
}

// secureFits says which of these settings have nothing to act on.
func (c *Config) secureFits(u *redis.UniversalOptions) error {
	for _, s := range []struct {
		name, value string
		ok          bool
		allowed     string
	}{
		{"SLUICE_REDIS_CA_FILE", c.RedisCAFile, u.TLSConfig != nil, "nothing, unless SLUICE_REDIS_URL begins with rediss://"},
		{"SLUICE_REDIS_CERT_FILE", c.RedisCertFile, u.TLSConfig != nil, "nothing, unless SLUICE_REDIS_URL begins with rediss://"},
		{"SLUICE_REDIS_CERT_FILE", c.RedisCertFile, c.RedisKeyFile != "", "nothing, unless SLUICE_REDIS_KEY_FILE is set, too"},
		{"SLUICE_REDIS_KEY_FILE", c.RedisKeyFile, c.RedisCertFile != "", "nothing, unless SLUICE_REDIS_CERT_FILE is set, too"},
		{"SLUICE_REDIS_SENTINEL_USER", c.SentinelUser, c.SentinelPassword != "", "nothing, unless SLUICE_REDIS_SENTINEL_PASSWORD is set, too"},
		{"SLUICE_REDIS_SENTINEL_PASSWORD", c.SentinelPassword, u.MasterName != "", "nothing, unless SLUICE_REDIS_URL names Sentinels, with ?master_name="},
	} {
		if s.value != "" && !s.ok {
			return settings.Invalid{Name: s.name, Value: s.value, Allowed: s.allowed}
		}
	}
	return nil
}
