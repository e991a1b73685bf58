// binary_trees: perfect binary trees built and dropped beside one that stays.
//
// For each even depth from 4 on as many short-lived trees as make about the same number of nodes, and one long-lived tree of the
// greatest depth. Each mutator does all of it, so two mutators do it twice.

package main

import (
	"errors"
	"fmt"
	"math"
)

// gcNode is two pointers and a word.
type gcNode struct {
	left, right *gcNode
	word        uint64
}

// leastTreeDepth is that of the shallowest of the short-lived trees.
const leastTreeDepth = 4

// gcTrees does all of it, with scale times the classical number of short-lived trees.
func gcTrees(depth int, scale float64) (err error) {
	check := func(root *gcNode, depth int) {
		if found := root.walk(); found != countTree(depth) && err == nil {
			err = fmt.Errorf("a tree of depth %d has %d nodes, not %d", depth, found, countTree(depth))
		}
	}
	check(buildTree(depth+1), depth+1)
	longLived := buildTree(depth)
	for d := leastTreeDepth; d <= depth; d += 2 {
		trees := uint64(math.Ceil(float64(uint64(1)<<(depth-d+leastTreeDepth)) * scale))
		for range trees {
			check(buildTree(d), d)
		}
	}
	check(longLived, depth)
	return err
}

// gcTreesShared does the same in several goroutines at once.
func gcTreesShared(mutators, depth int, scale float64) error {
	results := make(chan error)
	for range mutators {
		go func() { results <- gcTrees(depth, scale) }()
	}
	var all []error
	for range mutators {
		all = append(all, <-results)
	}
	return errors.Join(all...)
}

func buildTree(depth int) *gcNode {
	if depth == 0 {
		return &gcNode{word: 1}
	}
	return &gcNode{buildTree(depth - 1), buildTree(depth - 1), 1}
}

// walk adds up the words of a tree.
func (n *gcNode) walk() uint64 {
	if n == nil {
		return 0
	}
	return n.word + n.left.walk() + n.right.walk()
}

func countTree(depth int) uint64 {
	return 2<<depth - 1
}
