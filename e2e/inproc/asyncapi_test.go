package inproc_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// message is what the document of frames says of one type.
type message struct {
	schema *jsonschema.Schema
	fields map[string]any
}

// messages are those of the document that gateways serve, by type.
var messages = sync.OnceValues(func() (map[string]message, error) {
	const path = "../../gateway/asyncapi.json"
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var doc struct {
		Components struct {
			Messages map[string]struct {
				Payload struct{ Properties map[string]any }
			}
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	if err := c.AddResource("asyncapi.json", whole); err != nil {
		return nil, err
	}
	all := map[string]message{}
	for name, m := range doc.Components.Messages {
		schema, err := c.Compile("asyncapi.json#/components/messages/" + name + "/payload")
		if err != nil {
			return nil, err
		}
		all[name] = message{schema, m.Payload.Properties}
	}
	return all, nil
})

// described fails unless asyncapi.json describes a frame that a gateway sent.
func described(text []byte, kind string) error {
	all, err := messages()
	if err != nil {
		return fmt.Errorf("asyncapi.json: %w", err)
	}
	frame, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	m, ok := all[kind]
	if !ok {
		return fmt.Errorf("asyncapi.json has no message %q", kind)
	}
	for field := range frame.(map[string]any) {
		if m.fields[field] == nil {
			return fmt.Errorf("asyncapi.json has no field %q of the message %q", field, kind)
		}
	}
	return m.schema.Validate(frame)
}
