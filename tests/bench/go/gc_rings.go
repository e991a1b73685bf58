// cycles: doubly linked rings, made one after the other and dropped.

package main

import "fmt"

// gcRings makes rings, and walks each of them both ways before it is dropped.
func gcRings(rings, nodes int) error {
	sum := uint64(nodes) * uint64(nodes-1) / 2
	for range rings {
		first := buildRing(nodes)
		var forwards, backwards uint64
		for node := first.right; node != first; node = node.right {
			forwards += node.word
		}
		for node := first.left; node != first; node = node.left {
			backwards += node.word
		}
		if forwards != sum || backwards != sum {
			return fmt.Errorf("a ring of %d nodes adds up to %d and %d, not %d", nodes, forwards, backwards, sum)
		}
	}
	return nil
}

// buildRing returns node number 0 of a ring. Each new node comes behind it.
func buildRing(nodes int) *gcNode {
	first := &gcNode{}
	first.left, first.right = first, first
	for number := 1; number < nodes; number++ {
		second := first.right
		node := &gcNode{first, second, uint64(number)}
		first.right = node
		second.left = node
	}
	return first
}
