package worker

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"sluice/shared/store"
)

type metrics struct {
	events, duplicates, repeats, forwarded, messages prometheus.Counter
	terms, failures, retries, swept                  prometheus.Counter
	acks, cursorsMoved, ackFailures                  prometheus.Counter
	ackDrops                                         *prometheus.CounterVec
	kicks                                            prometheus.Counter
	owned, memory, historyBytes                      prometheus.Gauge
	batch, duration                                  prometheus.Histogram
	dead, slow                                       *prometheus.CounterVec
	deadTrimmed                                      prometheus.Counter
	badKeys                                          *prometheus.CounterVec
	lag, pending, apart                              *prometheus.GaugeVec
	functions, functionItems, unread                 *prometheus.CounterVec
	functionTime                                     *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "sluice_worker_" + name, Help: help})
	}
	gauges := func(name, help string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: "sluice_worker_" + name, Help: help}, []string{"partition"})
	}
	return &metrics{
		events:       counter("events_total", "Events that went through the step."),
		duplicates:   counter("duplicates_total", "Events left out, since their idempotency key was taken."),
		repeats:      counter("repeats_total", "Events that an earlier try had appended already."),
		forwarded:    counter("forwarded_total", "Intake entries brought to their partitions."),
		messages:     counter("messages_total", "Messages published to gateways."),
		terms:        counter("terms_total", "Terms begun, over partitions and the intake."),
		failures:     counter("failures_total", "Generations ended by a failure or by another worker."),
		retries:      counter("retries_total", "Batches tried again because Redis refused for now."),
		swept:        counter("sessions_swept_total", "Expired session fields removed."),
		kicks:        counter("kicks_total", "Kicks that gateways were told of."),
		acks:         counter("acks_total", "Acknowledgements read, those of connections without a device included."),
		cursorsMoved: counter("cursors_moved_total", "Cursors that an acknowledgement moved."),
		ackFailures:  counter("ack_failures_total", "Batches of acknowledgements that were tried again."),
		ackDrops: f.NewCounterVec(prometheus.CounterOpts{Name: "sluice_worker_acks_dropped_total",
			Help: "Acknowledgements and cursors that were dropped."}, []string{"reason"}),
		owned: f.NewGauge(prometheus.GaugeOpts{Name: "sluice_worker_owned",
			Help: "Partitions owned, and calls of partitions; the intake counted as one."}),
		memory: f.NewGauge(prometheus.GaugeOpts{Name: "sluice_worker_redis_memory_share",
			Help: "The part of its maxmemory that the fullest node of Redis uses; 0: it has no maxmemory."}),
		historyBytes: f.NewGauge(prometheus.GaugeOpts{Name: "sluice_worker_history_bytes",
			Help: "Bytes that a history may have now: less than SLUICE_HISTORY_BYTES while Redis's memory is short; 0: no bound."}),
		batch: f.NewHistogram(prometheus.HistogramOpts{Name: "sluice_worker_batch_entries",
			Help: "Entries in a batch.", Buckets: prometheus.ExponentialBuckets(1, 2, 11)}),
		duration: f.NewHistogram(prometheus.HistogramOpts{Name: "sluice_worker_step_seconds",
			Help: "From having read a batch to having appended and rendered it.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)}),
		dead: f.NewCounterVec(prometheus.CounterOpts{Name: "sluice_worker_dead_letters_total",
			Help: "Entries that became dead letters."}, []string{"reason"}),
		deadTrimmed: counter("dead_letters_trimmed_total", "Dead letters that are lost, since there were too many, or too many bytes of them."),
		slow: f.NewCounterVec(prometheus.CounterOpts{Name: "sluice_worker_slow_total",
			Help: "Reports about slow clients by their state, and what was done: redelivered, given_up; batches of reports of which some failed; those trimmed before a claim."}, []string{"what"}),
		badKeys: f.NewCounterVec(prometheus.CounterOpts{Name: "sluice_worker_bad_keys_total",
			Help: "What went on without a key (of events: session, idempotency, kicks; of functions: connections, unread), since it holds another type."}, []string{"key"}),
		apart: f.NewGaugeVec(prometheus.GaugeOpts{Name: "sluice_worker_set_apart",
			Help: "1 for each stream that is not processed until a key is repaired."}, []string{"what"}),
		functions: f.NewCounterVec(prometheus.CounterOpts{Name: "sluice_worker_functions_total",
			Help: "Attempts to call functions by their kind and outcome, events that became dead letters, and those that no function takes."}, []string{"kind", "outcome"}),
		functionItems: f.NewCounterVec(prometheus.CounterOpts{Name: "sluice_worker_function_items_refused_total",
			Help: "What functions asked for and cannot be done."}, []string{"what"}),
		unread: f.NewCounterVec(prometheus.CounterOpts{Name: "sluice_worker_unread_total",
			Help: "Events with the field unread: those that wait to be acknowledged (waiting), or do not (full, bad_key, no_function), and those that were acknowledged, or told to functions (told)."}, []string{"outcome"}),
		functionTime: f.NewHistogramVec(prometheus.HistogramOpts{Name: "sluice_worker_function_seconds",
			Help: "How long attempts to call functions took.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}, []string{"kind", "outcome"}),
		lag:     gauges("lag", "Entries that no worker has read yet."),
		pending: gauges("pending", "Entries read and not yet acknowledged."),
	}
}

func (m *metrics) step(entries int, d time.Duration) {
	m.batch.Observe(float64(entries))
	m.duration.Observe(d.Seconds())
}

func (m *metrics) backlog(all []store.Backlog, partitions int) {
	for _, b := range all {
		name := strconv.Itoa(b.Partition)
		switch {
		case b.Partition == store.Intake:
			name = "intake"
		case b.Partition >= partitions:
			name = "calls " + strconv.Itoa(b.Partition-partitions)
		}
		m.lag.WithLabelValues(name).Set(float64(b.Lag))
		m.pending.WithLabelValues(name).Set(float64(b.Pending))
	}
}

// function counts what came of an event for functions; took: 0 if none was asked.
func (m *metrics) function(kind, outcome string, took time.Duration) {
	m.functions.WithLabelValues(kind, outcome).Inc()
	if took > 0 {
		m.functionTime.WithLabelValues(kind, outcome).Observe(took.Seconds())
	}
}
