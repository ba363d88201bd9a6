package socket

// fifo is a queue that keeps its memory for the next items, up to a limit.
type fifo[T any] struct {
	items []T
	head  int
}

// keep is the largest capacity that most empty queues keep.
const keep = 256

func (f *fifo[T]) len() int { return len(f.items) - f.head }

func (f *fifo[T]) push(v T) {
	if len(f.items) == cap(f.items) && f.head > len(f.items)/2 {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	f.items = append(f.items, v)
}

// front are the first items, at most n.
func (f *fifo[T]) front(n int) []T {
	return f.items[f.head:min(len(f.items), f.head+n)]
}

// drop removes the first n items. Once it is empty, the queue keeps memory for at most
// keep of them.
func (f *fifo[T]) drop(n, keep int) {
	clear(f.items[f.head : f.head+n])
	f.head += n
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
		f.trim(keep)
	}
}

// trim gives the memory of an empty queue back if it is more than n items.
func (f *fifo[T]) trim(n int) {
	if f.len() == 0 && cap(f.items) > n {
		*f = fifo[T]{}
	}
}
