package limits

import "runtime"

// Line lets goroutines of a crowd get ready to run some at a time. Thousands of clients that send at once, or whose answers come at
// once, each have a goroutine that can run then, and Go runs them in that order: a message for others would wait behind every one of
// them. So they stand in line where they have waited.
type Line chan struct{}

// NewLine makes a Line of which so many are ready at a time: few enough that what others wait behind is a millisecond or two of work,
// and enough that the crowd gets on where others keep the processors busy.
func NewLine(ready int) Line { return make(Line, ready) }

// Stand lets the caller go on behind those that can run already.
func (l Line) Stand() {
	l <- struct{}{}
	runtime.Gosched()
	<-l
}
