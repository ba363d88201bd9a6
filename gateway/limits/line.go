package limits

import "runtime"

// inLine is how many goroutines of crowds may be ready to run at once: few enough that what a message for others waits behind is a
// millisecond or two of work, and enough that a crowd gets on where others keep the processors busy.
const inLine = 32

var line = make(chan struct{}, inLine)

// LastInLine lets the caller go on behind those that can run already. Thousands of clients that send at once, or whose answers come
// at once, each have a goroutine that can run then, and Go runs them in that order: a message for others would wait behind every one
// of them. So they call this where they have waited, and only some of them are ready at a time.
func LastInLine() {
	line <- struct{}{}
	runtime.Gosched()
	<-line
}
