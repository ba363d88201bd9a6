// Package js holds the JavaScript client as gateways serve it to pages: src, one file without comments and spaces.
//
//	src/sluice.js        what is called: subscribe, publish, ack, close
//	src/link.js          the connection: token, backoff, dead links
//	src/target.js        what has come of a target, in order and once, and what its handlers have done
//	src/subscription.js  a handler, or a loop
//	src/outbox.js        publishes without an answer
//	src/positions.js     where each target stands, in a storage
//	src/page.js          sleep, wake and the page cache
//	src/websocket.js     the transport
//	src/react.js         hooks
//	sluice.min.js        made of these by `npm run build`; a test in e2e/js tells when it is not, and how large it is
package js

import _ "embed"

// Minified is the client as a JavaScript module.
//
//go:embed sluice.min.js
var Minified []byte
