// Live heaps of the shapes in which marking differs: how many pointers are known at a time, and where they lead.

package main

import (
	"errors"
	"fmt"
	"math/bits"
)

const (
	// nodeBytes is what a node holds: two links and a word.
	nodeBytes = 3 * bits.UintSize / 8
	// entryBytes is what a node and its place in a table hold.
	entryBytes = nodeBytes + bits.UintSize/8
)

var errSpoiled = errors.New("a node is not as it was made")

// buildShape makes a heap of about so many nodes. It returns the bytes that it holds, and what checks every node and keeps them alive until then.
func buildShape(shape string, nodes int) (bytes int, verify func() error, err error) {
	switch shape {
	case "web":
		table := buildWeb(nodes)
		return nodes * entryBytes, func() error { return verifyWeb(table) }, nil
	case "list":
		// Each node leads to the one that was made before it.
		var first *gcNode
		for number := range nodes {
			first = &gcNode{left: first, word: uint64(number)}
		}
		return nodes * nodeBytes, func() error {
			node := first
			for number := nodes - 1; number >= 0; number-- {
				if node == nil || node.word != uint64(number) {
					return errSpoiled
				}
				node = node.left
			}
			return nil
		}, nil
	case "tree":
		depth := max(0, bits.Len(uint(nodes+1))-2)
		root, count := buildTree(depth), countTree(depth)
		return int(count) * nodeBytes, func() error {
			if root.walk() != count {
				return errSpoiled
			}
			return nil
		}, nil
	case "array":
		table := make([]*gcNode, nodes)
		for number := range table {
			table[number] = &gcNode{word: uint64(number)}
		}
		return nodes * entryBytes, func() error {
			for number, node := range table {
				if node.word != uint64(number) {
					return errSpoiled
				}
			}
			return nil
		}, nil
	}
	return 0, nil, fmt.Errorf("shape=%s is none of web, list, tree, array", shape)
}
