// Package js holds the JavaScript client as gateways serve it to pages: src, in files without comments and spaces, compressed.
//
//	src/sluice.js        what is called: subscribe, publish, ack, close
//	src/link.js          the connection: token, backoff, dead links
//	src/target.js        what has come of a target, in order and once, and what its handlers have done
//	src/subscription.js  a handler, or a loop
//	src/outbox.js        publishes without an answer
//	src/positions.js     where each target stands, in a storage
//	src/page.js          sleep, wake and the page cache
//	src/times.js         how long it waits for what
//	src/websocket.js     the transport
//	src/stream.js        the other one, over event streams and HTTP, and the client with both
//	src/tabs.js          a tab, whose client is in a SharedWorker
//	src/serve.js         what that worker does for its tabs
//	src/locks.js         who of them has ended
//	src/listeners.js     who listens to what happens
//	src/react.js         hooks
//	*.min.js.gz          made of these by `npm run build`; a test in e2e/js tells when they are not, and how large they are
package js

import _ "embed"

var (
	//go:embed sluice.min.js.gz
	client []byte
	//go:embed stream.min.js.gz
	stream []byte
	//go:embed tabs.min.js.gz
	tabs []byte
)

// Files are the JavaScript modules, compressed by gzip, by the paths at which they expect each other.
var Files = map[string][]byte{"/sluice.js": client, "/sluice-stream.js": stream, "/sluice-tabs.js": tabs}
