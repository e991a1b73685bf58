// map: a hash map with chained buckets, all of it collected objects.
//
// An entry is a node: its word the key, its first pointer the next entry of the chain, its second pointer the value, a node
// too. There are as many chains as the power of two at or above the number of keys.

package main

import (
	"fmt"
	"math/bits"
)

// gcMap has words for keys and nodes for values.
type gcMap struct {
	chains []*gcNode
}

func newMap(keys int) *gcMap {
	return &gcMap{make([]*gcNode, 1<<bits.Len(uint(keys-1)))}
}

// insert puts a new node with a value in, and tells whether the key had one.
func (m *gcMap) insert(key, value uint64) bool {
	node := &gcNode{word: value}
	if entry := m.find(key); entry != nil {
		entry.right = node
		return true
	}
	chain := m.chain(key)
	*chain = &gcNode{left: *chain, right: node, word: key}
	return false
}

func (m *gcMap) find(key uint64) *gcNode {
	entry := *m.chain(key)
	for entry != nil && entry.word != key {
		entry = entry.left
	}
	return entry
}

func (m *gcMap) chain(key uint64) **gcNode {
	return &m.chains[int((key*0x9E3779B97F4A7C15)>>32)&(len(m.chains)-1)]
}

// run inserts keys, replaces the values of as many keys at random, and looks up twice as many. Returns the number of operations.
func (m *gcMap) run(keys int) (int, error) {
	for key := range uint64(keys) {
		if m.insert(key, key) {
			return 0, fmt.Errorf("key %d was there before it was inserted", key)
		}
	}
	random := gcRandom(4)
	for range keys {
		key := uint64(random.below(keys))
		if !m.insert(key, key+uint64(keys)) {
			return 0, fmt.Errorf("key %d was lost", key)
		}
	}
	for range 2 * keys {
		key := uint64(random.below(keys))
		entry := m.find(key)
		if entry == nil || entry.right.word%uint64(keys) != key {
			return 0, fmt.Errorf("the value of %d is wrong", key)
		}
	}
	return 4 * keys, nil
}
