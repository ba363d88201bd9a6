package gateway

import (
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"sluice/shared/certs"
	"sluice/shared/settings"
)

// NewTLS is the TLS of clients, nil if the settings say that they come without. Files that change are read again; as
// long as they are no use the certificate from before goes on.
func NewTLS(cfg Config, reg prometheus.Registerer, log *slog.Logger) (*tls.Config, error) {
	if cfg.TLSCertFile == "" {
		return nil, nil
	}
	f := promauto.With(reg)
	failures := f.NewCounter(prometheus.CounterOpts{Name: "sluice_gateway_tls_certificate_failures_total",
		Help: "Changes of the certificate's files after which they could not be used: the one from before goes on."})
	handshakes := f.NewCounterVec(prometheus.CounterOpts{Name: "sluice_gateway_tls_handshakes_total",
		Help: "TLS handshakes that clients have begun, and that were done: the others have failed."}, []string{"stage"})
	pair, err := certs.Load(cfg.TLSCertFile, cfg.TLSKeyFile, func(e certs.Event) {
		if e.Err != nil {
			failures.Inc()
			log.Error("the new certificate for clients cannot be used, the one from before goes on: mend the files, they are read again", "err", e.Err)
			return
		}
		logCertificate(log, "took the new certificate for clients", e)
	})
	if err != nil {
		return nil, settings.Invalid{Name: "SLUICE_TLS_CERT_FILE", Value: cfg.TLSCertFile,
			Allowed: "a file with a certificate in PEM, and its key in SLUICE_TLS_KEY_FILE: " + err.Error()}
	}
	logCertificate(log, "clients come over TLS", certs.Event{Leaf: pair.Leaf()})
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "sluice_gateway_tls_certificate_expiry_timestamp_seconds",
		Help: "When the certificate that clients are shown ends, Unix time."},
		func() float64 { return float64(pair.Leaf().NotAfter.Unix()) })
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}, // WebSockets are upgraded from it
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			handshakes.WithLabelValues("begun").Inc()
			return pair.Certificate(), nil
		},
		VerifyConnection: func(tls.ConnectionState) error {
			handshakes.WithLabelValues("done").Inc()
			return nil
		},
	}, nil
}

func logCertificate(log *slog.Logger, what string, e certs.Event) {
	attrs := []any{"names", e.Leaf.DNSNames, "ends", e.Leaf.NotAfter.UTC().Format(time.RFC3339)}
	if time.Now().After(e.Leaf.NotAfter) {
		log.Error("the certificate for clients has ended, and they will refuse it: replace its files, they are read again", attrs...)
		return
	}
	log.Info(what, attrs...) //nolint:sloglint // one of two sentences
}
