package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestHistories judges again what runs have left behind: logs in which something was wrong, cut down to it, and logs in
// which nothing was. SLUICE_TORTURE_HISTORY names a file to be judged instead (by its whole path); then what shows the
// first violations is written beside it, and what concerns the target and client of SLUICE_TORTURE_CUT="topic:t1 c2".
func TestHistories(t *testing.T) {
	if path := os.Getenv("SLUICE_TORTURE_HISTORY"); path != "" {
		log, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		v := Check(log)
		t.Log(v)
		v.list(t)
		v.parts(t, filepath.Dir(path))
		if to, client, ok := strings.Cut(os.Getenv("SLUICE_TORTURE_CUT"), " "); ok {
			if err := log.Cut(to, client).Save(filepath.Join(filepath.Dir(path), "cut.jsonl")); err != nil {
				t.Error(err)
			}
		}
		if !v.OK() {
			t.Errorf("promises are broken:\n%s", v.Explain())
		}
		return
	}
	files, err := filepath.Glob("testdata/histories/*.jsonl*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no histories (%v)", err)
	}
	for _, path := range files {
		name, _, _ := strings.Cut(filepath.Base(path), ".")
		t.Run(name, func(t *testing.T) {
			log, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			v := Check(log)
			for _, want := range log.Config.Want {
				if !slices.ContainsFunc(v.Violations, func(w Violation) bool {
					return strings.HasPrefix(fmt.Sprintf("%v: %s", w.Class, w.Text), want)
				}) {
					t.Errorf("%s: the checker does not find %q", log.Config.Story, want)
				}
			}
			if len(log.Config.Want) != len(v.Violations) {
				t.Errorf("%s: %d violations, want %d:\n%v", log.Config.Story, len(v.Violations), len(log.Config.Want), v.Violations)
			}
		})
	}
}

// TestFile: what is written is what is read, and a part that is cut out shows the same violation.
func TestFile(t *testing.T) {
	log := goodLog()
	log.Config = Config{Seed: 7, Faults: "none"}
	log.wipe(Flushed, at(60))
	log.told()
	log.Flushed = map[int]bool{11: true}
	log.poison(Acked, "no_data", 1)
	log.live(1)
	log.waits()
	log.heard(24, true)
	log.Faults = append(log.Faults, Fault{Kind: "redis-flush", Place: "redis", Begin: at(60), End: at(60)})
	v := Check(log)
	for _, name := range []string{"log.jsonl", "log.jsonl.gz"} {
		path := filepath.Join(t.TempDir(), name)
		if err := log.Save(path); err != nil {
			t.Fatal(err)
		}
		again, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if w := Check(again); w.String() != v.String() || w.Explain() != v.Explain() {
			t.Errorf("written: %v\n%s\nread: %v\n%s", v, v.Explain(), w, w.Explain())
		}
	}
	for _, violation := range v.Violations {
		if w := Check(log.Cut(violation.To, violation.Client)); !slices.Contains(w.Violations, violation) {
			t.Errorf("cut out for %v, the log shows %v", violation, w.Violations)
		}
	}
	path := filepath.Join(t.TempDir(), "odd.jsonl")
	if err := os.WriteFile(path, []byte(`{"config":{"seed":1,"duration":1,"faults":"","ttl":1}}`+"\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a line that holds nothing: %v", err)
	}
}

// list logs the first violations.
func (v *Verdict) list(t *testing.T) {
	t.Helper()
	const most = 6 // of a class
	told := map[Class]int{}
	for _, w := range v.Violations {
		if told[w.Class]++; told[w.Class] <= most {
			t.Log(w)
		}
	}
}

// keep writes a log into a directory, and besides for each kind of what was found the part that shows it.
func (v *Verdict) keep(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "history.jsonl.gz")
	if err := v.log.Save(path); err != nil {
		t.Errorf("cannot keep the history: %v", err)
		return
	}
	t.Logf("the whole history is in %s; judge it again with SLUICE_TORTURE_HISTORY=%s go test -run TestHistories ./e2e/torture", path, path)
	v.parts(t, dir)
}

// parts writes what shows the first violations of each kind, cut out of the log.
func (v *Verdict) parts(t *testing.T, dir string) {
	t.Helper()
	const most = 3 // of a kind
	kept := map[string]int{}
	for _, w := range v.Violations {
		kind := strings.ReplaceAll(w.Class.String(), " ", "-")
		if w.Client != "" {
			kind += "-client"
		}
		if kept[kind]++; kept[kind] > most {
			continue
		}
		path := filepath.Join(dir, fmt.Sprintf("found-%s-%d.jsonl", kind, kept[kind]))
		if err := v.log.Cut(w.To, w.Client).Save(path); err != nil {
			t.Errorf("cannot keep %v: %v", w, err)
		}
	}
}
