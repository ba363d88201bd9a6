package ops

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/shared/settings"
)

type exampleConfig struct {
	Redis      string `env:"SLUICE_REDIS_URL" secret:"url" help:"where Redis is"`
	Partitions int    `env:"SLUICE_PARTITIONS" envDefault:"16" min:"1" max:"1024" help:"how many partitions"`
	Anywhere   bool   `env:"SLUICE_AUTH_DEV_ANYWHERE" help:"dev tokens on any address"`
	Auth       struct {
		Mode   string `env:"SLUICE_AUTH" envDefault:"jwt" oneof:"jwt,dev" help:"how clients prove who they are"`
		Secret string `env:"SLUICE_JWT_SECRET" secret:"true" help:"the key"`
	}
	LogConfig
}

// asProgram makes the test binary run Main as a program: its value is what the
// program does when it is told to stop.
const asProgram = "SLUICE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if atStop := os.Getenv(asProgram); atStop != "" {
		time.AfterFunc(2*deadline, func() { os.Exit(3) }) // the test that waited for it may have died
		run := func(ctx context.Context, _ *slog.Logger) error {
			fmt.Println("running")
			<-ctx.Done()
			switch atStop {
			case "stubborn":
				select {}
			case "failing":
				return errors.New("the drain was cut short")
			}
			return nil
		}
		Program{Name: "example", Summary: "stands in for a real program", Config: &exampleConfig{}, Run: run}.Main()
	}
	goleak.VerifyTestMain(m)
}

// deadline bounds every wait of these tests.
const deadline = 20 * time.Second

func TestMainWithRealSignals(t *testing.T) {
	for _, tc := range []struct {
		atStop  string
		signals []os.Signal
		code    int
		logs    []string // in this order
	}{
		{"orderly", []os.Signal{syscall.SIGTERM}, ExitOK, []string{"starting", "stopping in order", "msg=stopped"}},
		{"orderly", []os.Signal{syscall.SIGINT}, ExitOK, []string{"starting", "stopping in order", "msg=stopped"}},
		{"failing", []os.Signal{syscall.SIGTERM}, ExitFailed, []string{"stopping in order", "the drain was cut short"}},
		{"stubborn", []os.Signal{syscall.SIGTERM, syscall.SIGINT}, ExitFailed, []string{"stopping in order", "a second signal came"}},
	} {
		t.Run(fmt.Sprint(tc.atStop, tc.signals), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), deadline)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), asProgram+"="+tc.atStop, "SLUICE_JWT_SECRET=geheim-geheim")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			logs, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "running\n" {
				t.Errorf("it said %q, %v", line, err)
			}
			var seen strings.Builder
			scan := bufio.NewScanner(logs)
			next := 0
			for scan.Scan() {
				fmt.Fprintln(&seen, scan.Text())
				// A signal when it runs, the next one when it has answered that.
				if next < len(tc.signals) && (strings.Contains(scan.Text(), "starting") || strings.Contains(scan.Text(), "stopping in order")) {
					if err := cmd.Process.Signal(tc.signals[next]); err != nil {
						t.Error(err)
					}
					next++
				}
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != tc.code {
				t.Errorf("exit code %d, want %d; it logged:\n%s", got, tc.code, seen.String())
			}
			rest := seen.String()
			for _, want := range tc.logs {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Errorf("no %q in its place in:\n%s", want, seen.String())
				}
				rest = after
			}
			if strings.Contains(seen.String(), "geheim") {
				t.Errorf("the secret was logged:\n%s", seen.String())
			}
		})
	}
}

// result of one Exec.
type result struct {
	code     int
	out, err string
}

func execute(p Program, environ map[string]string, signals <-chan os.Signal, args ...string) result {
	var out, err bytes.Buffer
	code := p.Exec(args, environ, &out, &err, signals)
	return result{code, out.String(), err.String()}
}

func example(run func(context.Context, *slog.Logger) error) Program {
	return Program{Name: "example", Summary: "an example", Config: &exampleConfig{}, Run: run}
}

func TestExecWithoutStarting(t *testing.T) {
	p := example(func(context.Context, *slog.Logger) error { panic("it was started") })
	withCommand := p
	withCommand.Run = nil
	withCommand.Commands = map[string]Command{"dead": {}}
	hint := "; \"example -h\" lists all commands and settings\n"
	for _, tc := range []struct {
		p       Program
		args    []string
		environ map[string]string
		want    result
	}{
		{p, []string{"-version"}, nil, result{0, "example " + Version + "\n", ""}},
		{p, []string{"-x"}, nil, result{2, "", "example: flag provided but not defined: -x" + hint}},
		{p, []string{"serve"}, nil, result{2, "", `example: the argument "serve" is unknown` + hint}},
		{withCommand, nil, nil, result{2, "", "example: a command is missing" + hint}},
		{p, nil, map[string]string{"SLUICE_PARTITIONS": "abc"}, result{2, "",
			"example: SLUICE_PARTITIONS=\"abc\" is not allowed: want a whole number from 1 to 1024\n"}},
		{p, nil, map[string]string{"SLUICE_PARTITIONS": "0", "SLUICE_PARTITION": "geheim"}, result{2, "",
			"example: SLUICE_PARTITIONS=\"0\" is not allowed: want a whole number from 1 to 1024\n" +
				"example: SLUICE_PARTITION is set, but is not a setting of this program\n"}},
		{p, nil, map[string]string{"SLUICE_PARTITIONS": "a", "SLUICE_AUTH_DEV_ANYWHERE": "b"}, result{2, "",
			"example: SLUICE_PARTITIONS=\"a\" is not allowed: want a whole number from 1 to 1024\n" +
				"example: SLUICE_AUTH_DEV_ANYWHERE=\"b\" is not allowed: want true or false\n"}},
	} {
		if got := execute(tc.p, tc.environ, nil, tc.args...); got != tc.want {
			t.Errorf("%v %v:\ngot  %+v\nwant %+v", tc.args, tc.environ, got, tc.want)
		}
	}
	for _, flag := range []string{"-h", "-help", "--help"} {
		// Help is there even when a setting is wrong.
		got := execute(p, map[string]string{"SLUICE_PARTITIONS": "abc"}, nil, flag)
		if got.code != 0 || got.err != "" || !strings.Contains(got.out, "SLUICE_PARTITIONS") || !strings.Contains(got.out, "an example") {
			t.Errorf("%s: %+v", flag, got)
		}
	}
}

func TestExecRuns(t *testing.T) {
	var c exampleConfig
	p := example(func(_ context.Context, log *slog.Logger) error {
		log.Debug("partitions", "n", c.Partitions)
		return nil
	})
	p.Config = &c
	got := execute(p, map[string]string{
		"SLUICE_PARTITIONS": "5", "SLUICE_LOG_LEVEL": "debug", "SLUICE_LOG_FORMAT": "json",
		"SLUICE_JWT_SECRET": "geheim-geheim", "SLUICE_REDIS_URL": "redis://:geheim@h:1",
	}, nil)
	if got.code != ExitOK || got.out != "" {
		t.Errorf("%+v", got)
	}
	for _, want := range []string{`"msg":"starting"`, `"version":"` + Version, `"SLUICE_JWT_SECRET":"(set)"`, `redis://:xxxxx@h:1`, `"msg":"partitions","n":5`, `"msg":"stopped"`} {
		if !strings.Contains(got.err, want) {
			t.Errorf("no %s in:\n%s", want, got.err)
		}
	}
	if strings.Contains(got.err, "geheim") {
		t.Errorf("a secret was logged:\n%s", got.err)
	}
}

func TestExecFails(t *testing.T) {
	p := example(func(context.Context, *slog.Logger) error {
		return errors.New(`dial "redis://:geheim@h:1": refused`)
	})
	got := execute(p, map[string]string{"SLUICE_REDIS_URL": "redis://:geheim@h:1"}, nil)
	if got.code != ExitFailed || strings.Count(got.err, "level=ERROR") != 1 || !strings.Contains(got.err, "refused") ||
		strings.Contains(got.err, "geheim") || strings.Contains(got.err, "msg=stopped") {
		t.Errorf("%+v", got)
	}
}

// A mistake in a setting that shows only when it is used reads like the others.
func TestExecFailsByASetting(t *testing.T) {
	p := example(func(context.Context, *slog.Logger) error {
		return fmt.Errorf("starting: %w", settings.Invalid{Name: "SLUICE_JWT_SECRET", Value: "geheim-geheim", Allowed: "a better one"})
	})
	got := execute(p, map[string]string{"SLUICE_LOG_LEVEL": "error"}, nil)
	want := result{ExitUsage, "", "example: SLUICE_JWT_SECRET=(hidden) is not allowed: want a better one\n"}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDefaultsOfAProgram(t *testing.T) {
	var c exampleConfig
	p := example(func(context.Context, *slog.Logger) error { return nil })
	p.Config = &c
	p.Defaults = map[string]string{"SLUICE_PARTITIONS": "4", "SLUICE_AUTH": "dev"}
	for _, tc := range []struct {
		set  string
		want int
	}{{"", 4}, {"5", 5}} {
		c = exampleConfig{}
		if got := execute(p, map[string]string{"SLUICE_PARTITIONS": tc.set}, nil); got.code != ExitOK || c.Partitions != tc.want || c.Auth.Mode != "dev" {
			t.Errorf("%q: %d partitions, auth %s, want %d and dev: %+v", tc.set, c.Partitions, c.Auth.Mode, tc.want, got)
		}
	}
	c = exampleConfig{}
	if got := execute(p, nil, nil, "-h"); !strings.Contains(got.out, "1 to 1024\n                            default: 4\n") {
		t.Errorf("-h does not show the program's default:\n%s", got.out)
	}
}

func TestUnlessStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	failure := errors.New("a failure")
	if got := UnlessStopped(ctx, failure); !errors.Is(got, failure) {
		t.Errorf("before: %v", got)
	}
	cancel()
	if got := UnlessStopped(ctx, failure); got != nil {
		t.Errorf("after: %v", got)
	}
}

func TestProcessName(t *testing.T) {
	a, b := ProcessName(), ProcessName()
	if a == b || !regexp.MustCompile(`^[A-Za-z0-9.-]+-[a-z0-9]{8}$`).MatchString(a) {
		t.Errorf("%q and %q", a, b)
	}
}

func TestExecSecondSignalDoesNotWait(t *testing.T) {
	release, ended := make(chan struct{}), make(chan struct{})
	signals := make(chan os.Signal, 2)
	p := example(func(ctx context.Context, _ *slog.Logger) error {
		defer close(ended)
		signals <- syscall.SIGTERM
		<-ctx.Done() // the first one ends the context
		signals <- syscall.SIGINT
		<-release
		return nil
	})
	got := execute(p, map[string]string{}, signals)
	close(release)
	<-ended
	if got.code != ExitFailed || !strings.Contains(got.err, "signal=terminated") || !strings.Contains(got.err, "a second signal came\" signal=interrupt") {
		t.Errorf("%+v", got)
	}
}

func TestCommands(t *testing.T) {
	var c exampleConfig
	p := example(func(context.Context, *slog.Logger) error { return errors.New("Run was run") })
	p.Config = &c
	p.Commands = map[string]Command{
		"dead": {Run: func(ctx context.Context, args []string, stdout io.Writer) error {
			switch {
			case slices.Equal(args, []string{"list", "-n", "3"}):
				fmt.Fprintln(stdout, "of", c.Partitions)
				return ctx.Err()
			case len(args) == 0:
				return UsageError("dead wants list, requeue or drop")
			}
			return errors.New("Redis is away: redis://:geheim@h")
		}},
	}
	environ := map[string]string{"SLUICE_PARTITIONS": "5", "SLUICE_REDIS_URL": "redis://:geheim@h"}
	for _, tc := range []struct {
		args []string
		want result
	}{
		{[]string{"dead", "list", "-n", "3"}, result{0, "of 5\n", ""}},
		{[]string{"dead"}, result{2, "", "example: dead wants list, requeue or drop; \"example -h\" lists all commands and settings\n"}},
		{[]string{"dead", "drop"}, result{1, "", "example: Redis is away: redis://:xxxxx@h\n"}},
	} {
		c = exampleConfig{}
		if got := execute(p, environ, nil, tc.args...); got != tc.want {
			t.Errorf("%v:\ngot  %+v\nwant %+v", tc.args, got, tc.want)
		}
	}
}

// A variable that looks like a setting and is none is told by its name, for commands as well; its value may be a secret.
func TestUnknownSettingIsTold(t *testing.T) {
	p := example(func(context.Context, *slog.Logger) error { return nil })
	p.Commands = map[string]Command{"dead": {Run: func(context.Context, []string, io.Writer) error { return nil }}}
	for _, args := range [][]string{nil, {"dead"}} {
		got := execute(p, map[string]string{"SLUICE_JWT_SECRT": "geheim", "OTHER": "x", "SLUICE_AUTH": "dev"}, nil, args...)
		if got.code != ExitOK || strings.Count(got.err, "level=WARN") != 1 || !strings.Contains(got.err, "name=SLUICE_JWT_SECRT") || strings.Contains(got.err, "geheim") {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

func TestCommandHelp(t *testing.T) {
	p := example(nil)
	p.Commands = map[string]Command{"dead": {Summary: "shows dead letters", Run: func(context.Context, []string, io.Writer) error { panic("it was run") }}}
	for _, args := range [][]string{{"dead", "-h"}, {"dead", "list", "--help"}, {"dead", "-help"}} {
		got := execute(p, map[string]string{"SLUICE_PARTITIONS": "abc"}, nil, args...)
		if got.code != 0 || got.err != "" || !strings.HasPrefix(got.out, "example dead: shows dead letters\n") || !strings.Contains(got.out, "allowed: a whole number from 1 to 1024") {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

// What libraries log goes where the program's log goes, whatever is run.
func TestUseLog(t *testing.T) {
	var library *slog.Logger
	p := example(func(context.Context, *slog.Logger) error { library.Debug("from a library"); return nil })
	p.UseLog = func(log *slog.Logger) { library = log }
	p.Commands = map[string]Command{"dead": {Run: func(context.Context, []string, io.Writer) error {
		library.Debug("from a library")
		return nil
	}}}
	for _, args := range [][]string{nil, {"dead"}} {
		if got := execute(p, map[string]string{"SLUICE_LOG_LEVEL": "debug"}, nil, args...); got.code != ExitOK || !strings.Contains(got.err, "from a library") {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

const usagePage = `example: an example

Usage: example [-h] [-version] [command]

Commands:

  dead   list, requeue or drop dead letters
  other  nothing

Settings are environment variables; one that is set to "" counts as not set:

  SLUICE_LOG_LEVEL   The lowest level that is logged.
                     allowed: debug, info, warn or error
                     default: warn

  SLUICE_LOG_FORMAT  How a line of the log looks: text is for people, json for machines.
                     allowed: text or json
                     default: text
`

func TestUsage(t *testing.T) {
	p := Program{
		Name: "example", Summary: "an example", Config: &LogConfig{}, Defaults: map[string]string{"SLUICE_LOG_LEVEL": "warn"},
		Commands: map[string]Command{"dead": {Summary: "list, requeue or drop dead letters"}, "other": {Summary: "nothing"}},
	}
	if got := execute(p, nil, nil, "-h"); got.out != usagePage {
		t.Errorf("got:\n%s\nwant:\n%s", got.out, usagePage)
	}
	p.Commands = nil
	if got := execute(p, nil, nil, "-h"); !strings.Contains(got.out, "Usage: example [-h] [-version]\n\nSettings") {
		t.Errorf("without commands:\n%s", got.out)
	}
}

// A switch is one of Run's: it is off unless it is given, -h lists it, and a command does not take it.
func TestSwitches(t *testing.T) {
	var on bool
	p := example(func(context.Context, *slog.Logger) error { return nil })
	p.Switches = map[string]Switch{"once": {Summary: "ends after one turn", On: &on}}
	p.Commands = map[string]Command{"dead": {Run: func(context.Context, []string, io.Writer) error { return nil }}}
	for _, tc := range []struct {
		args []string
		code int
		on   bool
	}{
		{[]string{"-once"}, ExitOK, true},
		{nil, ExitOK, false},
		{[]string{"dead"}, ExitOK, false},
		{[]string{"-once", "dead"}, ExitUsage, true},
		{[]string{"-twice"}, ExitUsage, false},
	} {
		if got := execute(p, nil, nil, tc.args...); got.code != tc.code || on != tc.on {
			t.Errorf("%v: the switch is %v, %+v", tc.args, on, got)
		}
	}
	want := "Usage: example [-h] [-version] [-once] [command]\n\nSwitches:\n\n  -once  ends after one turn\n\nCommands:\n"
	if got := execute(p, nil, nil, "-h"); !strings.Contains(got.out, want) {
		t.Errorf("-h says:\n%s", got.out)
	}
}
