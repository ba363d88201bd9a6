package binaries_test

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestCurlExamples runs the requests that README.md prints, as a shell does.
func TestCurlExamples(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	m := regexp.MustCompile("(?ms)^```sh\n(curl [^`]*)^```$").FindStringSubmatch(read(t, "../../README.md"))
	if m == nil {
		t.Fatal("README.md prints no requests")
	}
	room, alice := "topic:"+unique("room"), unique("alice")
	script := strings.NewReplacer("http://127.0.0.1:8080", "http://"+c.gateways[0].addr, "topic:room-1", room, "alice", alice).Replace(m[1])
	script = strings.ReplaceAll(script, "curl ", "curl -sS -w '%{http_code}\\n' ")
	out, err := exec.CommandContext(t.Context(), "sh", "-euc", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 8 {
		t.Fatalf("four requests are answered by\n%s", out)
	}
	var one posted
	var list struct{ Events []posted }
	var p page
	for i, into := range []any{&one, &list, &p, &struct{}{}} {
		if err := json.Unmarshal([]byte(lines[2*i]), into); err != nil || lines[2*i+1] != "200" {
			t.Errorf("request %d is answered by %s %s (%v)", i+1, lines[2*i+1], lines[2*i], err)
		}
	}
	if !one.is(room, false) || len(list.Events) != 2 || !list.Events[0].is(room, false) || !list.Events[1].is("user:"+alice, false) {
		t.Errorf("the publishes are answered by %+v and %+v", one, list)
	}
	if len(p.Events) != 2 || string(p.Events[0].Data) != `{"text":"paid"}` || p.Events[0].Event != "order" || p.Position != list.Events[0].ID {
		t.Errorf("the page is %+v", p)
	}
}
