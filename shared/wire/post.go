package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// MaxPosts is how many events one request may publish, counted by target.
const MaxPosts = 1000

// The forms in which a request's body may have events.
const (
	FormJSON   = "application/json"                   // an event, or an array of events
	FormLines  = "application/x-ndjson"               // an event in each line
	FormCloud  = "application/cloudevents+json"       // a CloudEvent, structured mode
	FormClouds = "application/cloudevents-batch+json" // an array of CloudEvents
)

// Publish is an event that a client publishes to one target, whatever the door.
type Publish struct {
	To     string
	Data   string // JSON, or any bytes with Base64
	Event  string
	ID     string // idempotency key
	Except string // connection that does not get it
	Live   bool   // retain 0
	Base64 bool   // data is shown in base64
	Unread string // how long it may wait to be acknowledged until functions are told; "": they never are
}

// Post is an event of a request's body for one target, or why it is none.
type Post struct {
	Publish
	Err *FrameError
}

// ParsePosts reads the events of a request's body. single: there is one, for one target, and the answer is about it. key is that of
// the header Idempotency-Key, "" for none. What is wrong with one of several events is told with it; an error is about the
// whole, and then nothing of it counts.
func ParsePosts(form string, body []byte, key string) (posts []Post, single bool, err *FrameError) {
	if !utf8.Valid(body) {
		return nil, false, badRequest("the body is not UTF-8")
	}
	list, single, err := split(form, body)
	if err != nil {
		return nil, false, err
	}
	if !single && key != "" {
		return nil, false, badRequest("Idempotency-Key is for a single event; each of several has its own id")
	}
	read := readPost
	if form == FormCloud || form == FormClouds {
		read = readCloudEvent
	}
	posts = make([]Post, 0, len(list))
	for _, one := range list {
		var e Publish
		var targets targets
		var wrong *FrameError
		if one[0] == '{' && (form != FormLines || valid(one)) {
			e, targets, wrong = read(one)
		} else {
			wrong = badRequest("an event is one JSON object")
		}
		if wrong == nil {
			wrong = e.takeKey(key)
		}
		if wrong != nil {
			if single {
				return nil, false, wrong
			}
			posts = append(posts, Post{Err: wrong})
			continue
		}
		single = single && !targets.several
		for _, to := range targets.names {
			e.To = to
			_, unread := CheckUnread(to, e.Unread, e.Live)
			switch {
			case CheckTarget(to) != nil:
				posts = append(posts, Post{Err: badRequest("to: %v", ErrTarget)})
			case unread != nil:
				posts = append(posts, Post{Err: badRequest("%v", unread)})
			default:
				posts = append(posts, Post{Publish: e})
			}
		}
		if len(posts) > MaxPosts {
			return nil, false, tooManyPosts()
		}
	}
	if single && posts[0].Err != nil {
		return nil, false, posts[0].Err
	}
	return posts, single, nil
}

func tooManyPosts() *FrameError {
	return &FrameError{Code: CodeTooLarge, Message: "more than 1000 events in one request, each target counted"}
}

// split finds the events of a body; nothing is known of them yet.
func split(form string, body []byte) (list [][]byte, single bool, err *FrameError) {
	if form == FormLines {
		for line := range bytes.SplitSeq(body, []byte("\n")) {
			if line = trim(line); len(line) == 0 {
				continue
			}
			if list = append(list, line); len(list) > MaxPosts {
				return nil, false, tooManyPosts()
			}
		}
		return list, false, nil
	}
	if !valid(body) {
		return nil, false, badRequest("the body is not valid JSON")
	}
	switch body = trim(body); {
	case body[0] == '{' && form != FormClouds:
		return [][]byte{body}, true, nil
	case body[0] != '[' || form == FormCloud:
		return nil, false, badRequest("the body is one event, an object, or an array of events")
	}
	for _, one := range members(body) {
		if list = append(list, one); len(list) > MaxPosts {
			return nil, false, tooManyPosts()
		}
	}
	return list, false, nil
}

// targets are those of one event.
type targets struct {
	names   []string // not checked
	several bool     // a list, and answered as one
}

// readPost reads an event of Sluice's own form: as the frame `publish`, but `to` may be a list.
func readPost(object []byte) (e Publish, to targets, err *FrameError) {
	fields, err := only(object, "to", "data", "retain", "event", "id", "except", "unread")
	if err != nil {
		return e, to, err
	}
	target, data, retain := fields[0], fields[1], fields[2]
	if target != nil {
		if to, err = readTargets(target); err != nil {
			return e, to, err
		}
	}
	e.Data = string(data)
	if e.Event, err = optional("event", fields[3]); err != nil {
		return e, to, err
	}
	if e.ID, err = optional("id", fields[4]); err != nil {
		return e, to, err
	}
	if e.Except, err = optional("except", fields[5]); err != nil {
		return e, to, err
	}
	if e.Unread, err = optional("unread", fields[6]); err != nil {
		return e, to, err
	}
	if retain != nil {
		var r Retain
		if err := r.UnmarshalJSON(retain); err != nil {
			return e, to, badRequest("%v", err)
		}
		e.Live = r.Off
	}
	if err := checkData(data); err != nil {
		return e, to, badRequest("%v", err)
	}
	switch {
	case len(to.names) == 0:
		return e, to, badRequest("an event needs to: a target, or a list of targets")
	case data == nil:
		return e, to, badRequest("an event needs data")
	}
	if len(e.Except) > maxField {
		return e, to, badRequest("except is at most %d bytes", maxField)
	}
	return e, to, checkNames(e.Event, e.ID)
}

// checkNames is what holds for the name and the idempotency key of every event that a client publishes.
func checkNames(event, id string) *FrameError {
	switch {
	case !isEventName(event):
		return badRequest("event is at most %d bytes without control characters, and does not begin with %s", maxEventName, OwnNames)
	case len(id) > maxField:
		return badRequest("id is at most %d bytes", maxField)
	}
	return nil
}

// takeKey takes the header's key as the event's id.
func (e *Publish) takeKey(key string) *FrameError {
	switch {
	case key == "" || key == e.ID:
		return nil
	case e.ID != "":
		return badRequest("the event has another id than the header Idempotency-Key")
	case !utf8.ValidString(key):
		return badRequest("Idempotency-Key is not UTF-8")
	}
	e.ID = key
	return checkNames(e.Event, key)
}

func readTargets(value []byte) (targets, *FrameError) {
	if value[0] != '[' {
		name, err := readText("to", value)
		if name == "" {
			return targets{}, err
		}
		return targets{names: []string{name}}, err
	}
	to := targets{several: true}
	for _, one := range members(value) {
		name, err := readText("to", one)
		if err != nil {
			return to, err
		}
		if to.names = append(to.names, name); len(to.names) > MaxPosts {
			return to, tooManyPosts()
		}
	}
	return to, nil
}

// readText is the text of a field that is a string; null counts as "".
func readText(name string, value []byte) (string, *FrameError) {
	text, ok := unquote(value)
	if !ok {
		return "", badRequest("%s is a string", name)
	}
	if err := checkData(value); err != nil {
		return "", badRequest("%s: %v", name, err)
	}
	return text, nil
}

// readCloudEvent reads a CloudEvent 1.0 in JSON (CloudEvents JSON format 1.0.2): `subject` is the target, `type` the name, and
// `source` and `id` together are the idempotency key.
func readCloudEvent(object []byte) (e Publish, to targets, err *FrameError) {
	fields, err := only(object, append(cloudTexts, "data")...)
	if err != nil {
		return e, to, err
	}
	text := make(map[string]string, len(cloudTexts))
	for i, name := range cloudTexts {
		if text[name], err = optional(name, fields[i]); err != nil {
			return e, to, err
		}
	}
	e.Event, e.ID = text["type"], text["source"]+" "+text["id"] // a source has no space
	if len(e.ID) > maxField {
		e.ID = fmt.Sprintf("sha256 %x", sha256.Sum256([]byte(e.ID)))
	}
	if err := e.cloudEvent(text, fields[5] != nil, fields[6]); err != nil {
		return e, to, err
	}
	return e, targets{names: []string{text["subject"]}}, checkNames(e.Event, e.ID)
}

// cloudTexts are the attributes of a CloudEvent that are strings.
var cloudTexts = []string{"specversion", "id", "source", "type", "subject", "data_base64"}

// cloudEvent checks the attributes, and takes the data: raw says that there is data_base64.
func (e *Publish) cloudEvent(text map[string]string, raw bool, data []byte) *FrameError {
	for _, name := range []string{"id", "source", "specversion", "type", "subject"} {
		if text[name] == "" {
			return badRequest("a CloudEvent needs %s; subject is the target", name)
		}
	}
	if text["specversion"] != "1.0" {
		return badRequest(`specversion is "1.0"`)
	}
	if !plainText(text["source"], maxField) || strings.Contains(text["source"], " ") {
		return badRequest("source is a URI reference of at most %d bytes", maxField)
	}
	if _, err := url.Parse(text["source"]); err != nil {
		return badRequest("source is a URI reference")
	}
	switch {
	case data != nil && raw:
		return badRequest("a CloudEvent has data or data_base64, not both")
	case raw:
		raw, err := base64.StdEncoding.Strict().DecodeString(text["data_base64"])
		if err != nil {
			return badRequest("data_base64 is not base64")
		}
		e.Data, e.Base64 = string(raw), true
	case data == nil:
		e.Data = "null"
	default:
		if err := checkData(data); err != nil {
			return badRequest("%v", err)
		}
		e.Data = string(data)
	}
	return nil
}
