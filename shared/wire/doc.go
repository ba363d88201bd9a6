// Package wire holds everything that is bytes on a wire of Sluice: the names of
// targets, the ids of events, the frames between clients and gateways, and the
// records that workers send to gateways over Pub/Sub. It imports nothing else of
// the project and does no I/O.
//
// In the order in which an event meets them:
//
//	target.go     what an event is addressed to
//	partition.go  the partition it belongs to, and where a Cluster has that
//	id.go         event ids, their order, positions
//	entry.go      the fields of a producer's XADD, checked
//	event.go      an event rendered as the frame that every socket gets
//	record.go     the message from a worker to one gateway
//	ack.go        an acknowledgement in its stream, and on its way to other devices
//	kick.go       connections to be ended: its entry, and how gateways are told
//	slow.go       a client that does not keep up: its gateway's report, the worker's question
//	client.go     frames from clients, decoded and checked
//	json.go       JSON taken apart where encoding/json would be too lenient
//	server.go     frames to clients other than events
//	cursor.go     positions as one string
//	close.go      close codes
package wire
