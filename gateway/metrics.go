package gateway

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"sluice/gateway/acks"
	"sluice/gateway/calls"
	"sluice/gateway/live"
	"sluice/gateway/publish"
	"sluice/gateway/slow"
)

// Reasons why something from the channel was dropped, besides those of the live flow.
const (
	dropMalformed = "malformed"    // not a worker's message
	dropChannel   = "channel_full" // the delivery does not keep up with the channel
)

type metrics struct {
	connections                    prometheus.Gauge
	records, subscriptions         prometheus.Counter
	sessionFailures, retired       prometheus.Counter
	keyFailures, kicked            prometheus.Counter
	drops, closes, refused, errors *prometheus.CounterVec
	limited, wakes                 *prometheus.CounterVec
	live                           live.Metrics
	publish                        publish.Metrics
	calls                          calls.Metrics
	slow                           slow.Metrics
	acks                           acks.Metrics
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "sluice_gateway_" + name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "sluice_gateway_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		connections:     f.NewGauge(prometheus.GaugeOpts{Name: "sluice_gateway_connections", Help: "Open sockets with or before a token."}),
		records:         counter("records_total", "Records that came on the channel."),
		subscriptions:   counter("subscriptions_total", "Subscriptions to the gateway's channel."),
		sessionFailures: counter("session_failures_total", "Writes of sessions that failed and were repeated."),
		retired:         counter("retired_total", "Connections sent away because they had reached their greatest age."),
		keyFailures:     counter("jwks_failures_total", "Fetches of the keys that check tokens (SLUICE_JWKS_URL) that failed."),
		kicked:          counter("kicked_total", "Connections ended by a kick."),
		drops:           vec("drops_total", "Records and messages that were dropped.", "reason"),
		closes:          vec("closes_total", "Closed sockets.", "code"),
		refused:         vec("refused_total", "Connections and requests refused.", "reason"),

		acks: acks.Metrics{
			Acks:    counter("acks_total", "Acknowledgements that clients sent."),
			Refused: counter("acks_refused_total", "Acknowledgements of what was not sent on their connection."),
			Written: counter("acks_written_total", "Acknowledgements appended to the acks streams, the highest for many."),
			Drops:   vec("acks_dropped_total", "Acknowledgements that were dropped.", "reason"),
		},
		slow: slow.Metrics{
			Slow:    f.NewGauge(prometheus.GaugeOpts{Name: "sluice_gateway_slow_connections", Help: "Connections that catch up from the history and have no room."}),
			Reports: vec("slow_reports_total", "Reports to workers about connections that take nothing.", "state"),
		},
		calls: calls.Metrics{
			Calls:   counter("calls_total", "Calls of clients, brought to functions."),
			Refused: vec("calls_refused_total", "Calls that were not brought to functions, or not answered in time (late).", "reason"),
		},
		publish: publish.Metrics{
			Backlog:      f.NewGauge(prometheus.GaugeOpts{Name: "sluice_backlog", Help: "Entries in all ingress streams that are not acknowledged."}),
			BacklogBytes: f.NewGauge(prometheus.GaugeOpts{Name: "sluice_backlog_bytes", Help: "Bytes of all ingress streams in Redis, what was acknowledged in the last second included."}),
			Memory:       f.NewGauge(prometheus.GaugeOpts{Name: "sluice_redis_memory_share", Help: "The part of its maxmemory that the fullest node of Redis uses; 0: it has no maxmemory."}),
			Publishes:    counter("publishes_total", "Events that clients published."),
			Refused:      vec("publishes_refused_total", "Events that clients published and the gateway did not append.", "reason"),
		},
		live: live.Metrics{
			Deliveries: counter("deliveries_total", "Events queued for sockets."),
			Holes:      counter("holes_total", "Events whose predecessor had not come: the history was read."),
			Rereads:    counter("rereads_total", "Partitions whose targets were read again after a possible loss."),
			Looks:      counter("looks_total", "Targets whose history was looked at after a possible loss."),
			Mended:     counter("mended_total", "Events that were lost on the channel and came from the history."),
			Lagging:    counter("lagging_total", "Subscriptions whose socket did not keep up."),
			Resumes:    vec("resumes_total", "Positions that clients came back with.", "result"),
			Gaps:       vec("gaps_total", "Gaps told to clients.", "reason"),
		},
		errors:  vec("errors_total", "Errors told to clients.", "code"),
		wakes:   vec("wakes_total", "Requests to SLUICE_WAKE_URL.", "outcome"),
		limited: vec("limited_total", "Frames refused because a connection or its user sent too much.", "limit"),
	}
	m.live.Drops, m.slow.Drops = m.drops, m.drops
	return m
}

// watchPending makes a metric of the connections without a token.
func watchPending(reg prometheus.Registerer, pending func() int) {
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sluice_gateway_pending_connections", Help: "Connections that have shown no valid token yet.",
	}, func() float64 { return float64(pending()) })
}

func (m *metrics) dropped(reason string) { m.drops.WithLabelValues(reason).Inc() }

// closed counts a close by its code; codes that are none of the protocol's count
// as one, since clients choose them.
func (m *metrics) closed(code int) {
	label := "other"
	if (code >= 1000 && code <= 1015) || (code >= 4000 && code <= 4503) {
		label = strconv.Itoa(code)
	}
	m.closes.WithLabelValues(label).Inc()
}
