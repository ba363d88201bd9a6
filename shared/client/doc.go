// Package client is the Go client of Sluice: it receives events by WebSocket, publishes them, and asks functions.
//
// It connects by itself and comes back by itself, and gives each event of a target once, in order, over every break; what cannot
// be had any more is told as a gap. It says the same to gateways as the JavaScript client. [Client.Run] keeps it going:
//
//	c, err := client.New(client.Options{URL: "http://127.0.0.1:8080", Token: token})
//	c.Subscribe("topic:room-1", func(ctx context.Context, e *client.Event) error { ... })
//	err = c.Run(ctx)
//
// A position is saved when the handler of its event has returned: in memory, in a [Store], or with a Device in the server. So who
// dies in the middle gets the event again. Handlers run one after the other in the goroutine of Run: what takes long goes into a
// goroutine of the caller's, which then acknowledges it with [Client.Ack] and [AckManual].
//
// In the order in which a connection and an event meet them:
//
//	client.go        options, Run, and who may touch what
//	link.go          a connection: token, reader, writer, dead links, coming back
//	frame.go         frames, decoded
//	frames.go        what each means, and what is to be sent
//	subscription.go  a target: where its chain of events stands
//	queue.go         what waits for handlers
//	positions.go     up to where events are handled, and where that is kept
//	save.go          when
//	outbox.go        publishes and calls
//	errors.go        what can go wrong
package client
