// A live heap: a table of nodes, each with two links to nodes chosen at random; and what is done with it.

package main

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
)

// buildWeb makes nodes, each with its number as its word, and links them.
func buildWeb(nodes int) []*gcNode {
	table := make([]*gcNode, nodes)
	for number := range table {
		table[number] = &gcNode{word: uint64(number)}
	}
	random := gcRandom(3)
	for _, node := range table {
		node.left = table[random.below(nodes)]
		node.right = table[random.below(nodes)]
	}
	return table
}

// verifyWeb checks every node and every link.
func verifyWeb(table []*gcNode) error {
	random := gcRandom(3)
	for number, node := range table {
		left, right := random.below(len(table)), random.below(len(table))
		if node.word != uint64(number) || node.left.word != uint64(left) || node.right.word != uint64(right) {
			return fmt.Errorf("node %d and its links are %d, %d and %d, not %d and %d",
				number, node.word, node.left.word, node.right.word, left, right)
		}
	}
	return nil
}

const (
	// tick is how often the ticker has something to do.
	tick = 100 * time.Microsecond
	// burst is how often the mutator allocates.
	burst = time.Millisecond
)

// gcTick ticks until over; tells record how late each tick was, and each that was missed.
func gcTick(over *atomic.Bool, record func(time.Duration)) {
	due := time.Now().Add(tick)
	for !over.Load() {
		now := time.Now()
		if now.Before(due) {
			runtime.Gosched()
		}
		for ; !due.After(now); due = due.Add(tick) {
			record(now.Sub(due))
		}
	}
}

// gcAllocate puts new nodes into random places of a table, rate of them in each of bursts milliseconds. Says over at the end.
func gcAllocate(table []*gcNode, bursts, rate int, over *atomic.Bool) {
	random := gcRandom(6)
	start := time.Now()
	for number := 1; number <= bursts; number++ {
		for range rate {
			place := random.below(len(table))
			table[place] = &gcNode{word: uint64(place)}
		}
		time.Sleep(time.Until(start.Add(burst * time.Duration(number))))
	}
	over.Store(true)
}

// verifyPlaces checks that every place of the table holds a node with its number.
func verifyPlaces(table []*gcNode) error {
	for place, node := range table {
		if node.word != uint64(place) {
			return fmt.Errorf("place %d holds node %d", place, node.word)
		}
	}
	return nil
}
