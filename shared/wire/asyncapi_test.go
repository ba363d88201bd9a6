package wire_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const asyncAPIFile = "../../gateway/asyncapi.json"

// asyncAPI is what the tests need of the document.
type asyncAPI struct {
	Channels map[string]struct {
		Messages map[string]any `json:"messages"`
	} `json:"channels"`
	Operations map[string]struct {
		Action   string              `json:"action"`
		Messages []map[string]string `json:"messages"`
	} `json:"operations"`
	Components struct {
		Messages map[string]struct {
			Payload struct {
				Properties map[string]any `json:"properties"`
			} `json:"payload"`
		} `json:"messages"`
	} `json:"components"`
}

// payloads are the document, and the schemas of its messages by name.
func payloads(t *testing.T) (doc asyncAPI, schemas map[string]*jsonschema.Schema) {
	t.Helper()
	text, err := os.ReadFile(asyncAPIFile)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7) // AsyncAPI's own is a superset of it
	if err := c.AddResource("asyncapi.json", whole); err != nil {
		t.Fatal(err)
	}
	schemas = map[string]*jsonschema.Schema{}
	for name := range doc.Components.Messages {
		if schemas[name], err = c.Compile("asyncapi.json#/components/messages/" + name + "/payload"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return doc, schemas
}

// frameOf reads a frame and its type; ok: it is an object.
func frameOf(text string) (frame map[string]any, kind string, ok bool) {
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	frame, ok = v.(map[string]any)
	kind, _ = frame["type"].(string)
	return frame, kind, ok && err == nil
}

// TestAsyncAPIServerFrames: the document describes what the server writes, field by field, and nothing that has no golden frame.
func TestAsyncAPIServerFrames(t *testing.T) {
	doc, schemas := payloads(t)
	var golden struct {
		About  string
		Frames []serverFrame
	}
	readGolden(t, "server_frames.json", &golden)
	seen := map[string]bool{"close": true} // of event streams only; gateway/socket writes it
	for _, g := range golden.Frames {
		frame, kind, ok := frameOf(g.Text)
		schema := schemas[kind]
		if !ok || schema == nil {
			t.Errorf("%s: the document has no message %q", g.Name, kind)
			continue
		}
		seen[kind] = true
		if err := schema.Validate(frame); err != nil {
			t.Errorf("%s: %v", g.Name, err)
		}
		for field := range frame {
			if doc.Components.Messages[kind].Payload.Properties[field] == nil {
				t.Errorf("%s: the document does not name the field %q", g.Name, field)
			}
		}
	}
	for _, name := range []string{"tell", "stream"} {
		for _, m := range doc.Operations[name].Messages {
			if kind := m["$ref"][strings.LastIndex(m["$ref"], "/")+1:]; !seen[kind] {
				t.Errorf("the operation %s has a message %s that no golden frame shows", name, kind)
			}
		}
	}
}

// unsayable are refusals that a schema cannot tell, to which 0.0 is 0. Names that stand twice are gone when it is asked.
var unsayable = []string{"publish: retain is 0.0", "publish: retain is 0e0"}

// TestAsyncAPIClientFrames: the document allows what the server accepts, and nothing that it refuses.
func TestAsyncAPIClientFrames(t *testing.T) {
	doc, schemas := payloads(t)
	golden := readClientFile(t)
	seen := map[string]bool{}
	for _, g := range golden.Good {
		frame, kind, _ := frameOf(g.Text)
		seen[kind] = true
		if schema := schemas[kind]; schema == nil {
			t.Errorf("%s: the document has no message %q", g.Name, kind)
		} else if err := schema.Validate(frame); err != nil {
			t.Errorf("%s: %v", g.Name, err)
		}
	}
	for kind, operation := range doc.Operations {
		if operation.Action == "receive" && !seen[kind] {
			t.Errorf("the operation %s has no golden frame", kind)
		}
	}
	refused := 0
	for _, g := range golden.Bad {
		frame, kind, ok := frameOf(g.Text)
		schema := schemas[kind]
		if !ok || schema == nil || doc.Operations[kind].Action != "receive" || strings.Contains(g.Name, "twice") || slices.Contains(unsayable, g.Name) {
			continue // no frame of a client, or nothing for a schema
		}
		refused++
		if err := schema.Validate(frame); err == nil {
			t.Errorf("%s: the document allows what the server refuses: %s", g.Name, g.Text)
		}
	}
	if refused < 50 {
		t.Errorf("only %d refused frames were compared", refused)
	}
}
