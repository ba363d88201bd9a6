package wire

import "encoding/json"

// Frames to clients, except `event` and `skip`, which are on the hot path and
// written by hand (event.go). Frame renders any of them.

// Welcome is the first frame of every connection.
type Welcome struct {
	Conn   string `json:"conn"`
	Server string `json:"server"`
	User   string `json:"user"`
	PingMs int64  `json:"ping_ms"`
	Limits Limits `json:"limits"`
}

// Limits are what the gateway accepts from one connection, and from all of its user to
// this gateway. What is not limited is not said.
type Limits struct {
	MaxData    int `json:"max_data_bytes"`    // data of a publish
	MaxMessage int `json:"max_message_bytes"` // one message
	MaxTargets int `json:"max_targets"`       // subscriptions, own user and all included

	// In a second; ten seconds' worth may come at once.
	FrameRate       int `json:"frames_per_second,omitempty"`
	UserFrameRate   int `json:"user_frames_per_second,omitempty"`
	PublishRate     int `json:"publishes_per_second,omitempty"`
	UserPublishRate int `json:"user_publishes_per_second,omitempty"`
	ByteRate        int `json:"bytes_per_second,omitempty"`
	UserByteRate    int `json:"user_bytes_per_second,omitempty"`

	UserConnections int `json:"user_connections,omitempty"`
	UserTargets     int `json:"user_targets,omitempty"`
}

// Subscribed says that events for To follow from Position on.
type Subscribed struct {
	Ref       string `json:"ref,omitempty"`
	To        string `json:"to"`
	Position  ID     `json:"position"`  // newest id now
	Recovered bool   `json:"recovered"` // everything after the client's position follows
}

// Unsubscribed answers `unsubscribe`.
type Unsubscribed struct {
	Ref string `json:"ref,omitempty"`
	To  string `json:"to"`
}

// Gap says that events after After cannot be had; live events go on from Position.
type Gap struct {
	To       string `json:"to"`
	After    ID     `json:"after"`
	Oldest   ID     `json:"oldest"` // oldest event retained, "0" if none
	Position ID     `json:"position"`
	Reason   string `json:"reason"`
}

// Published answers `publish` after the event was appended.
type Published struct {
	Ref       string `json:"ref,omitempty"`
	To        string `json:"to"`
	ID        ID     `json:"id"`
	Duplicate bool   `json:"duplicate"` // ID is that of the first event with this key
}

// Replied answers `call`: what the function said.
type Replied struct {
	Ref  string          `json:"ref,omitempty"`
	ID   string          `json:"id"`
	Data json.RawMessage `json:"data,omitempty"`
}

// Acked says that another device of the user has everything of To up to ID.
type Acked struct {
	To     string `json:"to"`
	ID     ID     `json:"id"`
	Device string `json:"device"`
}

// Authorized answers `auth`.
type Authorized struct {
	Exp int64 `json:"exp"` // Unix seconds, 0: never
}

// Error refuses something; the connection goes on.
type Error struct {
	Ref string `json:"ref,omitempty"`
	// To is the target that a new connection asked for and does not get.
	To      string `json:"to,omitempty"`
	Code    string `json:"code"`
	Message string `json:"message"`
	// RetryAfterMs is how long to wait before asking again, where that is known.
	RetryAfterMs int64 `json:"retry_after_ms,omitempty"`
}

// Pong answers `ping`.
type Pong struct{}

// Goaway announces a close and says how long to wait after it.
type Goaway struct {
	AfterMs int64  `json:"after_ms"`
	Reason  string `json:"reason"`
}

// ServerFrame is a frame to a client.
type ServerFrame interface{ kind() string }

func (Welcome) kind() string      { return "welcome" }
func (Subscribed) kind() string   { return "subscribed" }
func (Unsubscribed) kind() string { return "unsubscribed" }
func (Gap) kind() string          { return "gap" }
func (Published) kind() string    { return "published" }
func (Replied) kind() string      { return "reply" }
func (Acked) kind() string        { return "acked" }
func (Authorized) kind() string   { return "authorized" }
func (Error) kind() string        { return "error" }
func (Pong) kind() string         { return "pong" }
func (Goaway) kind() string       { return "goaway" }

// AppendFrame adds the frame's JSON to dst, its type first.
func AppendFrame(dst []byte, f ServerFrame) []byte {
	body, err := json.Marshal(f)
	if err != nil {
		panic("wire: a frame of plain fields cannot fail to marshal: " + err.Error())
	}
	dst = append(dst, `{"type":"`...)
	dst = append(dst, f.kind()...)
	dst = append(dst, '"')
	if len(body) > 2 {
		dst = append(dst, ',')
	}
	return append(dst, body[1:]...)
}

// Frame is the frame as one WebSocket text frame.
func Frame(f ServerFrame) []byte { return AppendText(nil, AppendFrame(nil, f)) }
