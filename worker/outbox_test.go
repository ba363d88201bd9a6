package worker

import (
	"testing"

	"sluice/shared/store"
	"sluice/shared/wire"
)

func open(t *testing.T, o store.Outgoing) (wire.Message, int) {
	t.Helper()
	m, err := wire.ParseMessage(string(o.Payload))
	if err != nil {
		t.Fatal(err)
	}
	head, n := m, 0
	for r := (wire.Record{}); ; n++ {
		ok, err := m.Next(&r)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return head, n
		}
	}
}

func TestOutboxCountsMessagesForEachGateway(t *testing.T) {
	o := newOutbox(3, 7)
	r := wire.Record{Kind: wire.RecPublished, Conn: "c", Ref: "r", To: "all"}
	o.add("a", &r)
	o.add("a", &r)
	o.drop() // the batch is begun again: nothing is counted
	o.add("a", &r)
	o.add("b", &r)
	o.add("a", &r)
	out := o.seal(nil)
	if len(out) != 2 {
		t.Fatalf("%d messages, want one for each of two gateways", len(out))
	}
	for i, want := range []struct {
		server  string
		records int
	}{{"a", 2}, {"b", 1}} {
		m, n := open(t, out[i])
		if out[i].Server != want.server || n != want.records || m.Head != (wire.Head{Partition: 3, Epoch: 7, Seq: 1}) {
			t.Errorf("message %d: to %s with %d records, %+v", i, out[i].Server, n, m.Head)
		}
	}
	o.add("a", &r)
	m, _ := open(t, o.seal(nil)[0])
	if m.Head.Seq != 2 {
		t.Errorf("the second message has number %d", m.Head.Seq)
	}
}

func TestBeatsReachEveryLivingGateway(t *testing.T) {
	o := newOutbox(3, 7)
	o.add("a", &wire.Record{Kind: wire.RecRefused, Conn: "c"})
	o.seal(nil)
	into := make(map[string][]wire.Head)
	o.beats([]string{"a", "new"}, into)
	if got := into["a"]; len(got) != 1 || got[0] != (wire.Head{Partition: 3, Epoch: 7, Seq: 1}) {
		t.Errorf("beat for a gateway that got a message: %v", got)
	}
	if got := into["new"]; len(got) != 1 || got[0] != (wire.Head{Partition: 3, Epoch: 7}) {
		t.Errorf("beat for a gateway that got none: %v", got)
	}
	for range peerRounds + 1 {
		o.beats([]string{"new"}, into)
	}
	if len(o.peers) != 0 {
		t.Errorf("a dead gateway is remembered for ever: %v", o.peers)
	}
}
