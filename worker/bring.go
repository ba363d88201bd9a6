package worker

import (
	"context"
	"slices"

	"sluice/shared/store"
)

// ownsIntake reports whether the intake is its own; then it stands before all partitions.
func (l *lane) ownsIntake() bool { return len(l.owned) > 0 && l.owned[0] == store.Intake }

// ofIntake tells entries of the intake, which stand before all others, from those of partitions.
func ofIntake(entries []store.Entry) (intake, partitions []store.Entry) {
	n := 0
	for n < len(entries) && entries[n].Partition == store.Intake {
		n++
	}
	return entries[:n], entries[n:]
}

// sort takes what was read, up to count entries of each stream, and reads more of the intake if that had so many.
func (l *lane) sort(ctx context.Context, entries []store.Entry, count int) error {
	var came []store.Entry
	if came, l.rest = ofIntake(entries); len(came) > 0 {
		l.came = slices.Clone(came) // partitions may be read while it waits
	}
	if len(came) < count {
		return nil
	}
	return l.readOn(ctx, len(came))
}

// readOn reads more of the intake, which had as many entries as were to be read of each stream:
// on all partitions together they are few.
func (l *lane) readOn(ctx context.Context, had int) error {
	next := l.read(l.most() - had)
	if next.Count <= 0 {
		return nil
	}
	next.From, next.Block = []int{store.Intake}, 0
	more, err := l.conn.Commit(ctx, nil, nil, next, nil)
	l.came = append(l.came, more...)
	return err
}

// mayBring reports whether there is something to bring.
func (l *lane) mayBring() bool { return l.ownsIntake() && l.intake.due(len(l.came) > 0) }

// bring brings entries of the intake to their partitions, and what it finds there to the rest.
// While Redis refuses that, they wait, and so does what follows in the intake; everything else
// goes on. forwarded are those to be acknowledged.
func (l *lane) bring(ctx context.Context) (forwarded []store.Entry, err error) {
	if !l.mayBring() {
		return nil, nil
	}
	piece, later := cut(l.came, batchBytes)
	l.worksOn(piece)
	found, forwarded, err := l.intake.process(ctx, l.conn, piece, l.read(l.count(nil)))
	l.rest = append(slices.Clip(l.rest), found...)
	if err == nil {
		l.came = later
		return forwarded, nil
	}
	if !store.IsReply(err) || l.conn.Lost() {
		return nil, err
	}
	return nil, l.refused(ctx, err, l.intake.refused())
}
