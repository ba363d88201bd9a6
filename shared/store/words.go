package store

// words has room for the words of a batch's commands. The client makes an allocation
// for each word and some for each command; these are a third of what the worker does.
type words struct {
	args  []any
	texts []string
	begun int
}

// reset makes room for about so many words, and forgets the ones before: their
// commands must have been answered.
func (w *words) reset(n int) {
	clear(w.args)
	clear(w.texts)
	w.args, w.texts, w.begun = w.args[:0], w.texts[:0], 0
	if cap(w.args) < n {
		w.args, w.texts = make([]any, 0, n), make([]string, 0, n/4)
	}
}

func (w *words) add(word ...any) { w.args = append(w.args, word...) }

// text adds a text: a pointer to it costs nothing, a string in an interface does.
func (w *words) text(s string) {
	w.texts = append(w.texts, s)
	w.args = append(w.args, &w.texts[len(w.texts)-1])
}

// end gives the words since the last end.
func (w *words) end() []any {
	args := w.args[w.begun:len(w.args):len(w.args)]
	w.begun = len(w.args)
	return args
}
