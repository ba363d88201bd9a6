package ops

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"sluice/shared/settings"
)

// Exit codes of a Program.
const (
	ExitOK     = 0
	ExitFailed = 1 // Run returned an error, or a second signal cut it short
	ExitUsage  = 2 // the command line or a setting is wrong; nothing was started
)

// Program is an executable of Sluice.
type Program struct {
	Name    string
	Summary string // one sentence, for -h
	Config  any    // pointer to a struct as settings.Load takes it; a LogConfig anywhere inside is used

	// Defaults replace those of Config's tags, by variable.
	Defaults map[string]string

	// Run is the program. It returns when ctx ends, after an orderly stop: nil
	// then, not ctx's error. A settings.Invalid counts as a mistake in the settings.
	Run func(ctx context.Context, log *slog.Logger) error

	// Commands are run by their name as first argument, in place of Run, with
	// the arguments after it and Config loaded.
	Commands map[string]Command

	// Switches are what Run can be told on the command line besides the settings, by their names without the dash.
	Switches map[string]Switch

	// UseLog, if it is set, gets the log before anything else does: what libraries log
	// by themselves can so be sent there.
	UseLog func(log *slog.Logger)
}

// Switch is one that is off unless it is given.
type Switch struct {
	Summary string // for -h
	On      *bool
}

// Command is a sub-command of a Program.
type Command struct {
	Summary string // for -h
	Run     func(ctx context.Context, args []string, stdout io.Writer) error
}

// UsageError is what a Command returns for arguments that it does not take.
type UsageError string

func (e UsageError) Error() string { return string(e) }

// Main runs the program with this process's arguments, environment, output and
// signals, and ends the process.
func (p Program) Main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	os.Exit(p.Exec(os.Args[1:], nil, os.Stdout, os.Stderr, signals))
}

// Exec is Main for tests and for programs inside others: it returns the exit
// code. environ is as for settings.Load. The first signal ends Run's ctx; after a second
// one Exec returns at once, with Run possibly still going.
func (p Program) Exec(args []string, environ map[string]string, stdout, stderr io.Writer, signals <-chan os.Signal) int {
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the sentences are ours
	version := flags.Bool("version", false, "")
	for name, s := range p.Switches {
		flags.BoolVar(s.On, name, false, "")
	}
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		writeUsage(stdout, p)
		return ExitOK
	case err != nil:
		return p.refuse(stderr, err.Error()+p.hint())
	case *version:
		fmt.Fprintln(stdout, p.Name, Version)
		return ExitOK
	}
	command, isCommand := p.Commands[flags.Arg(0)]
	switch {
	case flags.NArg() > 0 && !isCommand:
		return p.refuse(stderr, fmt.Sprintf("the argument %q is unknown", flags.Arg(0))+p.hint())
	case isCommand && p.switched() != "":
		return p.refuse(stderr, fmt.Sprintf("-%s does not go with the command %q", p.switched(), flags.Arg(0))+p.hint())
	case !isCommand && p.Run == nil:
		return p.refuse(stderr, "a command is missing"+p.hint())
	}

	if isCommand && slices.ContainsFunc(flags.Args()[1:], asksForHelp) {
		writeCommandUsage(stdout, p, flags.Arg(0))
		return ExitOK
	}

	environ = settings.Environ(environ)
	unknown := settings.Unknown(p.Config, environ, "SLUICE_")
	for name, value := range p.Defaults {
		if _, set := environ[name]; !set {
			environ[name] = value
		}
	}
	if err := settings.Load(p.Config, environ); err != nil {
		sentences := err.Error()
		for _, name := range unknown { // perhaps the one that is missing, misspelt
			sentences += "\n" + name + " is set, but is not a setting of this program"
		}
		return p.refuse(stderr, sentences)
	}
	log := NewLogger(stderr, settings.Find[LogConfig](p.Config))
	if p.UseLog != nil {
		p.UseLog(log)
	}
	for _, name := range unknown {
		log.Warn("a variable is set that is not a setting of this program; it has no effect", "name", name)
	}
	run := func(ctx context.Context) error { return p.Run(ctx, log) }
	if isCommand {
		run = func(ctx context.Context) error { return command.Run(ctx, flags.Args()[1:], stdout) }
	} else {
		log.Info("starting", append([]any{"program", p.Name, "version", Version}, settings.Redacted(p.Config)...)...)
	}

	err = untilSignalled(run, log, signals)
	var usage UsageError
	var invalid settings.Invalid
	switch {
	case errors.Is(err, errCutShort):
		return ExitFailed
	case isCommand && errors.As(err, &usage):
		return p.refuse(stderr, usage.Error()+p.hint())
	case errors.As(err, &invalid): // an address that cannot be one, say: seen only when it was used
		return p.refuse(stderr, settings.Presentable(invalid, p.Config, environ).Error())
	case err != nil && isCommand:
		p.complain(stderr, settings.Presentable(err, p.Config, environ).Error())
		return ExitFailed
	case err != nil:
		log.Error("stopped because of an error", "program", p.Name, "error", settings.Presentable(err, p.Config, environ))
		return ExitFailed
	case !isCommand:
		log.Info("stopped", "program", p.Name)
	}
	return ExitOK
}

var errCutShort = errors.New("a second signal")

// untilSignalled runs run, ends its ctx at the first signal, and at the second
// leaves it behind: whoever sends two does not want to wait for it.
func untilSignalled(run func(context.Context) error, log *slog.Logger, signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()

	for stopping := false; ; stopping = true {
		select {
		case err := <-done:
			return err
		case s := <-signals:
			if stopping {
				log.Error("stopping at once, without finishing the work: a second signal came", "signal", s.String())
				return errCutShort
			}
			log.Info("stopping in order; a second signal stops the process at once", "signal", s.String())
			cancel()
		}
	}
}

func asksForHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }

func (p Program) hint() string {
	return fmt.Sprintf("; %q lists all commands and settings", p.Name+" -h")
}

func (p Program) refuse(stderr io.Writer, sentences string) int {
	p.complain(stderr, sentences)
	return ExitUsage
}

// complain writes one line a sentence, each with the program's name before it.
func (p Program) complain(stderr io.Writer, sentences string) {
	for line := range strings.Lines(sentences) {
		fmt.Fprintf(stderr, "%s: %s\n", p.Name, strings.TrimRight(line, "\n"))
	}
}

// switched is a switch that is on, "" if none is.
func (p Program) switched() string {
	for name, s := range p.Switches {
		if *s.On {
			return name
		}
	}
	return ""
}
