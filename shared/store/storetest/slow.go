package storetest

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

// lost: a task is deleted, with every trace, if its message or its place is gone, and not
// otherwise.
func (x *suite) tasksLost(t *testing.T) {
	ctx, s := t.Context(), x.open(t, nil)
	const at, id = "asynq:{sluice:slow}:", "conn topic:a"
	message := func() { must(t, x.Client.HSet(ctx, at+"t:"+id, "msg", "m", "state", "any").Err()) }
	inSet := func(name string) func() {
		return func() { must(t, x.Client.ZAdd(ctx, at+name, redis.Z{Score: 1, Member: id}).Err()) }
	}
	inList := func(name string) func() { return func() { must(t, x.Client.LPush(ctx, at+name, id).Err()) } }
	for _, c := range []struct {
		name string
		has  []func()
		lost bool
	}{
		{"scheduled", []func(){message, inSet("scheduled")}, false},
		{"retried", []func(){message, inSet("retry")}, false},
		{"archived", []func(){message, inSet("archived")}, false},
		{"pending", []func(){message, inList("pending")}, false},
		{"active", []func(){message, inList("active"), inSet("lease")}, false},
		{"without a place", []func(){message}, true},
		{"only leased", []func(){message, inSet("lease")}, true},
		{"without a message", []func(){inSet("retry")}, true},
		{"what asynq makes of one without a message", []func(){
			func() { must(t, x.Client.HSet(ctx, at+"t:"+id, "state", "active").Err()) }, inList("active"), inSet("lease"),
		}, true},
	} {
		x.reset(t)
		for _, add := range c.has {
			add()
		}
		lost, err := s.DropLostTask(ctx, "slow", id)
		must(t, err)
		want(t, c.name+": lost", lost, c.lost)
		left := x.Client.Exists(ctx, at+"t:"+id, at+"scheduled", at+"retry", at+"archived", at+"lease", at+"pending", at+"active").Val()
		if c.lost {
			want(t, c.name+": what is left", left, 0)
		} else {
			want(t, c.name+": what is left", left, int64(len(c.has)))
		}
	}
}
