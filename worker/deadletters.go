package worker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"sluice/shared/ops"
	"sluice/shared/store"
)

const deadUsage = `usage: dead list [-json], dead requeue ID... or all, dead drop ID... or all`

// DeadLetters is the command `dead`: list, requeue and drop dead letters, and tasks that
// were given up.
func DeadLetters(ctx context.Context, cfg store.Config, args []string, out io.Writer) error {
	if len(args) == 0 {
		return ops.UsageError(deadUsage)
	}
	st, err := store.Open(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }()
	if err := st.Ready(ctx); err != nil {
		return err
	}
	return deadLetters(ctx, st, taskTypes(roles()), args, out)
}

// deadLetters knows tasks of these types.
func deadLetters(ctx context.Context, st *store.Store, types []*taskType, args []string, out io.Writer) error {
	gone := newGivenUp(st, types)
	defer gone.close()
	each := func(ctx context.Context, do func(store.Buried) error) error {
		return errors.Join(eachDead(ctx, st, do), gone.each(do))
	}
	verb, rest := args[0], args[1:]
	switch {
	case verb == "list" && len(rest) == 0:
		return listDead(ctx, each, out)
	case verb == "list" && len(rest) == 1 && rest[0] == "-json":
		enc := json.NewEncoder(out)
		return each(ctx, func(b store.Buried) error { return enc.Encode(exact(b)) })
	case verb == "requeue" && len(rest) > 0:
		return changeDead(ctx, each, rest, out, "requeued", gone.or(gone.inspect.RunTask, st.Requeue))
	case verb == "drop" && len(rest) > 0:
		return changeDead(ctx, each, rest, out, "dropped", gone.or(gone.inspect.DeleteTask, st.DropDead))
	}
	return ops.UsageError(deadUsage)
}

// lister calls back for everything that is dead.
type lister func(ctx context.Context, do func(store.Buried) error) error

func listDead(ctx context.Context, each lister, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "ID\tREASON\tSTREAM\tENTRY\tTO\tDATA")
	n := 0
	err := each(ctx, func(b store.Buried) error {
		n++
		_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", b.ID, b.Reason, b.Stream, b.Entry, short(b.Fields["to"]), short(b.Fields["data"])+answered(b.Fields))
		return err
	})
	if err != nil {
		return err
	}
	if n == 0 {
		_, err = fmt.Fprintln(out, "no dead letters")
		return err
	}
	return w.Flush()
}

// answered is what a function answered last, for its dead letters.
func answered(fields map[string]string) string {
	status := fields["status"]
	if status == "" {
		return ""
	}
	return fmt.Sprintf(" (%s: %s %q)", fields["error"], status, fields["answer"])
}

// exactLetter is a dead letter whose bytes survive JSON.
type exactLetter struct {
	store.Buried
	Base64 map[string]string `json:",omitempty"` // the fields that are not UTF-8
}

func exact(b store.Buried) exactLetter {
	e := exactLetter{Buried: b}
	for name, value := range b.Fields {
		if utf8.ValidString(value) {
			continue
		}
		if e.Base64 == nil {
			e.Fields, e.Base64 = maps.Clone(b.Fields), make(map[string]string)
		}
		delete(e.Fields, name)
		e.Base64[name] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	return e
}

// short is a value that fits into a line and cannot harm a terminal.
func short(s string) string {
	const limit = 40
	q := strings.Trim(fmt.Sprintf("%q", s[:min(len(s), limit)]), `"`)
	if len(s) > limit {
		q += fmt.Sprintf("... (%d bytes)", len(s))
	}
	return q
}

func eachDead(ctx context.Context, st *store.Store, do func(store.Buried) error) error {
	const page = 100
	for after := ""; ; {
		letters, err := st.DeadLetters(ctx, after, page)
		if err != nil {
			return err
		}
		for _, b := range letters {
			if err := do(b); err != nil {
				return err
			}
			after = b.ID
		}
		if len(letters) < page {
			return nil
		}
	}
}

// changeDead does something with the dead letters of these ids, or with all that
// there are now.
func changeDead(ctx context.Context, each lister, ids []string, out io.Writer, did string,
	change func(context.Context, string) error) error {
	all := len(ids) == 1 && ids[0] == "all"
	if all {
		ids = nil
		if err := each(ctx, func(b store.Buried) error { ids = append(ids, b.ID); return nil }); err != nil {
			return err
		}
	}
	done := 0
	for _, id := range ids {
		err := change(ctx, id)
		if all && errors.Is(err, store.ErrNoDeadLetter) {
			continue // gone since it was listed: trimmed, changed by somebody else, or a client that is slow again
		}
		if err != nil {
			return fmt.Errorf("%s %d of %d dead letters, then: %w", did, done, len(ids), err)
		}
		done++
	}
	_, err := fmt.Fprintf(out, "%s %d dead letters\n", did, done)
	return err
}
