package live

import (
	"slices"
	"strings"
)

// subList are a connection's subscriptions, sorted by target: most have three, for
// which a map takes ten times the memory.
type subList []*Sub

func (l subList) find(target string) (int, bool) {
	return slices.BinarySearchFunc(l, target, func(s *Sub, target string) int {
		return strings.Compare(s.target.name, target)
	})
}

func (l subList) get(target string) *Sub {
	if i, ok := l.find(target); ok {
		return l[i]
	}
	return nil
}

// add puts a subscription in, in place of one to the same target.
func (l *subList) add(s *Sub) {
	i, ok := l.find(s.target.name)
	if ok {
		(*l)[i] = s
		return
	}
	*l = slices.Insert(*l, i, s)
}

// remove takes a subscription out; nil: there is none.
func (l *subList) remove(target string) *Sub {
	i, ok := l.find(target)
	if !ok {
		return nil
	}
	s := (*l)[i]
	*l = slices.Delete(*l, i, i+1)
	return s
}
