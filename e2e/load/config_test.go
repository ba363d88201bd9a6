package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestParse(t *testing.T) {
	for name, x := range map[string]struct {
		args string
		want string // in the error; "" for none
	}{
		"defaults":             {"", ""},
		"scenarios":            {"fanout unicast", ""},
		"unknown scenario":     {"sideways", `no scenario "sideways"`},
		"unknown flag":         {"-sideways", "sideways"},
		"too small":            {"-size 10", "-size is from"},
		"too large":            {"-size 100000", "-size is from"},
		"too long":             {"-time 1h", "-time is"},
		"no time":              {"-time 0s", "-time is"},
		"too many":             {"-scale 11", "-scale is"},
		"never ends":           {"-timeout 100h", "-timeout is"},
		"way":                  {"-via pigeon", "-via is partition or intake"},
		"attach":               {"-url ws://127.0.0.1:1,ws://localhost:2 -redis redis://127.0.0.1:3 fanout", ""},
		"attach, all":          {"-url ws://127.0.0.1:1 -redis redis://127.0.0.1:3", ""},
		"attach IPv6":          {"-url ws://[::1]:1 -redis redis://[::1]:3 fanout", ""},
		"attach half":          {"-url ws://127.0.0.1:1 fanout", "belong together"},
		"attach, memory":       {"-url ws://127.0.0.1:1 -redis redis://127.0.0.1:3 idle", "started itself"},
		"far gateway":          {"-url ws://192.0.2.1:1 -redis redis://127.0.0.1:3 fanout", "-url is on another machine"},
		"one far gateway":      {"-url ws://127.0.0.1:1,ws://192.0.2.1:1 -redis redis://127.0.0.1:3 fanout", "-url is on another machine"},
		"any address":          {"-url ws://0.0.0.0:1 -redis redis://127.0.0.1:3 fanout", "-url is on another machine"},
		"far Redis":            {"-url ws://127.0.0.1:1 -redis redis://192.0.2.1:3 fanout", "-redis is on another machine"},
		"far, and meant to be": {"-anywhere -url ws://192.0.2.1:1 -redis redis://192.0.2.1:3 fanout", ""},
		"TLS":                  {"-url wss://127.0.0.1:1 -redis redis://127.0.0.1:3 fanout", "want ws://host:port"},
		"port":                 {"-url ws://127.0.0.1:99999 -redis redis://127.0.0.1:3 fanout", "port"},
		"cluster":              {"-url ws://127.0.0.1:1 -redis redis://127.0.0.1:3,127.0.0.1:4 fanout", "-redis"},
		"password is not told": {"-url ws://127.0.0.1:1 -redis redis://:hunter2@127.0.0.1:x fanout", "-redis"},
	} {
		c, err := parse(t.Context(), strings.Fields(x.args), "", io.Discard)
		switch {
		case x.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case x.want == "" && c == nil:
			t.Errorf("%s: no configuration", name)
		case x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%s: error %v, want one with %q", name, err, x.want)
		}
	}
}

func TestHelp(t *testing.T) {
	var help strings.Builder
	if _, err := parse(t.Context(), []string{"-h"}, "", &help); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
	for _, s := range scenarios {
		if !strings.Contains(help.String(), s.name) || s.title == "" || s.about == "" || s.run == nil {
			t.Errorf("the scenario %q is not whole, or not in the help", s.name)
		}
	}
}

func TestTokens(t *testing.T) {
	c := &config{token: "dev:{user}"}
	if got := c.tokenFor("anna"); got != "dev:anna" {
		t.Errorf("token %q", got)
	}
	c.secret = []byte("0123456789abcdef0123456789abcdef")
	var claims jwt.MapClaims
	if _, err := jwt.ParseWithClaims(c.tokenFor("anna"), &claims, func(*jwt.Token) (any, error) { return c.secret, nil }); err != nil || claims["sub"] != "anna" {
		t.Errorf("claims %v, error %v", claims, err)
	}
}

func TestScale(t *testing.T) {
	c := &config{scale: 0.01}
	for full, want := range map[int]int{1: 1, 50: 1, 1000: 10, 149: 1, 151: 2} {
		if got := c.n(full); got != want {
			t.Errorf("%d scaled by 0.01 is %d, want %d", full, got, want)
		}
	}
}

func TestPaced(t *testing.T) {
	var calls [][2]int
	begin := time.Now()
	err := paced(t.Context(), 1000, 0, 100*time.Millisecond, func(from, n int) error {
		calls = append(calls, [2]int{from, n})
		return nil
	})
	took := time.Since(begin)
	next := 0
	for _, c := range calls {
		if c[0] != next || c[1] < 1 || c[1] > maxBurst {
			t.Fatalf("a call for %d from %d, after %d", c[1], c[0], next)
		}
		next += c[1]
	}
	if err != nil || next != 100 || took < 98*time.Millisecond {
		t.Errorf("%d things in %v, error %v; want 100 in 0.1 s", next, took, err)
	}

	stop := errors.New("stop")
	if err := paced(t.Context(), 0, 1e6, 0, func(int, int) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the error of a call came back as %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := paced(ctx, 1, 0, time.Hour, func(int, int) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
