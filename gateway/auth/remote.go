package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"

	"sluice/shared/outbound"
)

const (
	// fetchEvery is the time from the begin of one fetch of the key set to the next. It does not depend on tokens, so
	// those that name unknown keys cannot cause fetches; a new key is known, and one that was taken back refused, after
	// fetchEvery and fetchTimeout at most.
	fetchEvery   = 5 * time.Second
	fetchTimeout = 4 * time.Second
	maxKeySet    = 256 << 10 // bytes of an answer
	// maxAwaiting is how many tokens may wait for the next fetch.
	maxAwaiting = 256
)

// remote are the keys of SLUICE_JWKS_URL. keyfunc, which is made for this, starts a goroutine that nobody can wait for,
// does not bound the answer, and takes no key of a set in which one is bad; so only its reader of single keys is used.
type remote struct {
	url    string
	client *http.Client

	mu       sync.Mutex
	keys     []key
	had      bool   // the keys were fetched once
	next     *fetch // the one that begins next
	awaiting int    // who waits for a fetch
}

// fetch is one fetch of the key set; err is set before done is closed.
type fetch struct {
	done chan struct{}
	err  error
}

func newFetch() *fetch { return &fetch{done: make(chan struct{})} }

func newRemote(address string) *remote {
	return &remote{url: address, next: newFetch(), client: outbound.NewClient(fetchTimeout)}
}

// known are the keys as of the last fetch that succeeded. The list is never changed.
func (r *remote) known() []key {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys
}

// ready is nil when there are keys, as old as they may be.
func (r *remote) ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.had:
		return errors.New("the keys that check tokens could not be fetched from SLUICE_JWKS_URL yet")
	case len(r.keys) == 0:
		return errors.New("SLUICE_JWKS_URL gives no key that can check tokens")
	}
	return nil
}

// await waits for a fetch that begins from now on, and returns its error.
func (r *remote) await(ctx context.Context) error {
	r.mu.Lock()
	if r.awaiting >= maxAwaiting {
		r.mu.Unlock()
		return errors.New("too many tokens wait for the keys")
	}
	r.awaiting++
	f := r.next
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.awaiting--
		r.mu.Unlock()
	}()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run fetches until ctx ends. Keys that are known count on while the server is away.
func (r *remote) run(ctx context.Context, log *slog.Logger, failed func()) {
	tick := time.NewTicker(fetchEvery)
	defer tick.Stop()
	ok, first := true, true
	for ctx.Err() == nil {
		r.mu.Lock()
		f := r.next
		r.next = newFetch()
		r.mu.Unlock()
		list, err := r.get(ctx)
		switch {
		case ctx.Err() != nil: // the process stops
		case err != nil:
			failed()
			if ok {
				log.Error("cannot fetch the keys that check tokens; retrying every 5 s, those that are known go on", "from", "SLUICE_JWKS_URL", "err", err)
			}
		case !ok || first:
			log.Info("fetched the keys that check tokens", "from", "SLUICE_JWKS_URL", "keys", len(list))
		}
		r.mu.Lock()
		if err == nil {
			r.keys, r.had, first = list, true, false
		}
		r.mu.Unlock()
		ok = err == nil
		f.err = err
		close(f.done)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// get fetches the key set once.
func (r *remote) get(ctx context.Context) ([]key, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return nil, outbound.Reason(err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := r.client.Do(req)
	if err != nil {
		return nil, outbound.Reason(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %d instead of 200 (redirects are not followed)", answer.StatusCode)
	}
	text, err := readAtMost(answer.Body, maxKeySet)
	if err != nil {
		return nil, err
	}
	return parseKeySet(text)
}

// parseKeySet reads a JSON Web Key Set (RFC 7517). Keys that check no tokens here are left out: those for encryption, of
// other kinds or algorithms, broken ones, and secret ones, which whoever reads the set could sign with.
func parseKeySet(text []byte) ([]key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil || set.Keys == nil {
		return nil, errors.New("the answer is no JSON Web Key Set")
	}
	list := make([]key, 0, min(len(set.Keys), maxKeys))
	for _, raw := range set.Keys {
		one, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil {
			continue
		}
		says := one.Marshal()
		k, err := newKey(says.KID, one.Key())
		if err != nil || k.alg == algHS256 || (says.ALG != "" && says.ALG.String() != k.alg) || (says.USE != "" && says.USE != jwkset.UseSig) {
			continue
		}
		if len(list) == maxKeys {
			return nil, fmt.Errorf("the key set has more than %d keys that check tokens", maxKeys)
		}
		list = append(list, k)
	}
	return list, nil
}

// readAtMost reads all of it, or fails when it is longer than limit bytes.
func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("it is longer than %d bytes", limit)
	}
	return text, err
}
