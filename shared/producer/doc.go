// Package producer appends events from Go: over Redis to the streams of their partitions, which saves the hop over the intake, or
// over HTTP by a gateway, with a token in place of Redis. The URL says which.
//
//	p, err := producer.New("redis://127.0.0.1:6379", producer.Options{})
//	err = p.Publish(ctx, producer.Event{To: "topic:room-1", Data: []byte(`{"text":"hi"}`)})
//
// [Producer.Publish] does it once and says what became of it. A [Buffer] gathers events and repeats them safely until they are
// appended:
//
//	b := producer.NewBuffer(p, producer.BufferOptions{})
//	err = b.Add(ctx, producer.Event{To: "all", Data: []byte(`1`)})
//	err = b.Close(ctx)
//
// Files: producer.go what both ways have in common, redis.go and http.go the ways, buffer.go the buffer.
package producer
