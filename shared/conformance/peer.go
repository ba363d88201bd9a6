package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"sluice/shared/wire"
)

// peer is one connection of the client. Only the player writes.
type peer struct {
	ws     *websocket.Conn
	frames chan wire.ClientFrame
	bad    chan error    // what no server would have understood
	over   chan struct{} // the client has gone
	at     *string       // where it asked for the target in its URL
}

// askedInURL is the position of the target in the query or in Last-Event-ID; nil: it is not asked for there.
func askedInURL(r *http.Request) (at *string, err error) {
	for _, topic := range strings.Split(r.URL.Query().Get("topics"), ",") {
		if wire.TopicTarget(topic) == Target {
			at = new(string)
		}
	}
	text := r.URL.Query().Get("last_event_id")
	if text == "" {
		text = r.Header.Get("Last-Event-ID")
	}
	if text == "" {
		return at, nil
	}
	from, err := wire.ParseLastEventID(text)
	if err != nil {
		return nil, fmt.Errorf("last_event_id: %w", err)
	}
	if from.IsBare {
		return nil, errors.New("last_event_id: a bare id; this kit is for clients that know the position of each target")
	}
	if id, ok := from.Positions[Target]; ok {
		at = &id
	}
	return at, nil
}

// read hands frames on until the connection or the script is over.
func (c *peer) read(done <-chan struct{}) {
	defer close(c.over)
	for {
		_, text, err := c.ws.ReadMessage()
		if err != nil {
			return
		}
		f, err := wire.ParseClientFrame(text)
		if err != nil {
			c.bad <- fmt.Errorf("it sent %.200s: %w", text, err)
			return
		}
		select {
		case c.frames <- f:
		case <-done:
			return
		}
	}
}

// send writes a frame. Where the client has gone the next step finds that out.
func (c *peer) send(frame any) {
	text, err := json.Marshal(frame)
	if err != nil {
		panic("conformance: a frame of plain fields cannot fail to marshal: " + err.Error())
	}
	_ = c.ws.SetWriteDeadline(time.Now().Add(patience))
	_ = c.ws.WriteMessage(websocket.TextMessage, text)
}

func (c *peer) tell(f wire.ServerFrame) { c.send(json.RawMessage(wire.AppendFrame(nil, f))) }

// close closes with a code, and waits until the client has gone.
func (c *peer) close(code int) {
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, "as the script says"), time.Now().Add(patience))
	select {
	case <-c.over:
	case <-c.frames:
	case <-time.After(goodbye):
	}
	c.cut()
}

// cut breaks the link without a word.
func (c *peer) cut() {
	if tcp, ok := c.ws.NetConn().(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.ws.Close()
}
