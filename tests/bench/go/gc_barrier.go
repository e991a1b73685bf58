// barrier: pointers stored into old objects while nothing is collected.
//
// The places are chosen at random, so the caches miss as they do in programs; what differs between collectors is what a store does
// besides storing.

package main

import (
	"fmt"
	"runtime"
)

// storedNodes is how many nodes are stored, each many times over.
const storedNodes = 1024

// gcStores is the table that is stored into, and the nodes.
type gcStores struct {
	places, nodes []*gcNode
}

// newStores makes a table of nodes that has seen a collection.
func newStores(places int) *gcStores {
	s := &gcStores{make([]*gcNode, places), make([]*gcNode, storedNodes)}
	for number := range s.nodes {
		s.nodes[number] = &gcNode{word: uint64(number)}
	}
	for place := range s.places {
		s.places[place] = s.nodes[place%storedNodes]
	}
	runtime.GC()
	return s
}

func (s *gcStores) run(stores int) {
	random := gcRandom(5)
	for number := range stores {
		s.places[random.below(len(s.places))] = s.nodes[number%storedNodes]
	}
}

// verify checks what stores left in each place.
func (s *gcStores) verify(stores int) error {
	expected := make([]uint64, len(s.places))
	for place := range expected {
		expected[place] = uint64(place % storedNodes)
	}
	random := gcRandom(5)
	for number := range stores {
		expected[random.below(len(expected))] = uint64(number % storedNodes)
	}
	for place, node := range s.places {
		if node.word != expected[place] {
			return fmt.Errorf("place %d holds node %d, not %d", place, node.word, expected[place])
		}
	}
	return nil
}
