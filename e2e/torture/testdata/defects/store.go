package store

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// Deliberate defects, for the test of the checker that has to find them. They change
// what goes to Redis, so that the code under test is the one that is shipped.
// SLUICE_DEFECT chooses one:
//
//	takeover        the lease moves without a new term: one group for all, nothing is read again
//	ack-first       entries are acknowledged as soon as they are read
//	sessions-first  session Hashes are read before the append
//	forward-twice   intake entries are appended without a look at what was forwarded
//
// The live flow has others (live.go).
func init() {
	intercept = func(rdb redis.UniversalClient) {
		if change := defects[os.Getenv("SLUICE_DEFECT")]; change != nil {
			rdb.AddHook(&flaw{rdb, change})
		}
	}
}

// flaw is a hook that does a defect around each pipeline.
type flaw struct {
	side   redis.UniversalClient
	change func(f *flaw, ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error
}

func (f *flaw) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (f *flaw) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (f *flaw) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return f.change(f, ctx, cmds, next) }
}

var defects = map[string]func(*flaw, context.Context, []redis.Cmder, redis.ProcessPipelineHook) error{
	"takeover":       (*flaw).takeover,
	"ack-first":      (*flaw).ackFirst,
	"sessions-first": (*flaw).sessionsFirst,
	"forward-twice":  (*flaw).forwardTwice,
}

const onlyLease = `
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return {0, owner, '0-0'}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], '1', 'NX')
redis.pcall('XGROUP', 'CREATE', KEYS[3], ARGV[4] .. 'all', '0', 'MKSTREAM')
return {tonumber(redis.call('GET', KEYS[2])), '0-0', '0-0'}`

func (f *flaw) takeover(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
	for _, cmd := range cmds {
		switch args := cmd.Args(); cmd.Name() {
		case "evalsha":
			if args[1] == takeover.Hash() {
				args[0], args[1] = "eval", onlyLease
			}
		case "xreadgroup", "xack":
			args[2] = groupPrefix + "all"
		}
	}
	return next(ctx, cmds)
}

func (f *flaw) ackFirst(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
	err := next(ctx, cmds)
	acks := f.side.Pipeline()
	for _, cmd := range cmds {
		if read, ok := cmd.(*redis.XStreamSliceCmd); ok {
			for _, st := range read.Val() {
				for _, m := range st.Messages {
					acks.XAck(ctx, st.Stream, cmd.Args()[2].(string), m.ID)
				}
			}
		}
	}
	_, _ = acks.Exec(ctx)
	return err
}

func (f *flaw) sessionsFirst(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
	if !slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return cmd.Name() == "xadd" }) {
		return next(ctx, cmds) // the reads below, among others
	}
	before := map[int]*redis.StringSliceCmd{}
	pipe := f.side.Pipeline() // one by one they would be slower than any client subscribes
	for i, cmd := range cmds {
		if cmd.Name() == "hvals" {
			before[i] = pipe.HVals(ctx, cmd.Args()[1].(string))
		}
	}
	if len(before) > 0 {
		_, _ = pipe.Exec(ctx)
	}
	err := next(ctx, cmds)
	for i, old := range before {
		if hvals, ok := cmds[i].(*redis.StringSliceCmd); ok {
			hvals.SetVal(old.Val())
		}
	}
	return err
}

var forwards atomic.Int64

func (f *flaw) forwardTwice(ctx context.Context, cmds []redis.Cmder, next redis.ProcessPipelineHook) error {
	for _, cmd := range cmds {
		args := cmd.Args()
		if cmd.Name() != "evalsha" && cmd.Name() != "eval" {
			continue
		}
		if args[1] == forward.Hash() || args[1] == forwardLua {
			args[3] = args[3].(string) + ":" + strconv.FormatInt(forwards.Add(1), 10)
			args[5] = "" // it does not know of a mark either
		}
	}
	return next(ctx, cmds)
}
