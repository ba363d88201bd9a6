package socket

import (
	"encoding/binary"
	"encoding/json"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// framing is what a transport adds to what is sent. Queue, poller, writers, deadlines and the end are the same for all.
type framing struct {
	hears  bool   // the client sends messages and answers pings; if not, anything that comes ends the socket
	pieces int    // in which an event lies, at most
	ping   []byte // what is sent to an idle client
	close  func(code int, reason string) []byte
}

var (
	webSocket   = &framing{hears: true, pieces: 1, ping: []byte{0x89, 0}, close: closeFrame}
	eventStream = &framing{pieces: 3, ping: comment, close: closeEvent}
)

var comment = []byte(":\n\n") // of text/event-stream

func closeFrame(code int, reason string) []byte {
	if code == websocket.CloseNoStatusReceived || code == abnormal {
		return []byte{0x88, 0}
	}
	if len(reason) > 123 { // RFC 6455, 5.5: control frames have at most 125 bytes
		n := 123
		for !utf8.RuneStart(reason[n]) { // and 5.5.1: the reason is UTF-8
			n--
		}
		reason = reason[:n]
	}
	b := append(make([]byte, 0, 4+len(reason)), 0x88, byte(2+len(reason)))
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, reason...)
}

// closeEvent is the event `sluice.close`.
func closeEvent(code int, reason string) []byte {
	if code == websocket.CloseNoStatusReceived || code == abnormal {
		return comment
	}
	data, _ := json.Marshal(struct { // cannot fail
		Type   string `json:"type"`
		Code   int    `json:"code"`
		Reason string `json:"reason"`
	}{"close", code, reason})
	return append(append([]byte("event: sluice.close\ndata: "), data...), "\n\n"...)
}

const abnormal = websocket.CloseAbnormalClosure // 1006: the end without a close frame
