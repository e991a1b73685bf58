// allocate: objects are made and dropped, with the collector off (GOGC=off in the environment).
//
// The process is fresh, so that each page is touched for the first time, and its cost is part of the figure. Each size has a function of its own:
// a generic one would look its type up.

package main

import (
	"errors"
	"fmt"
	"time"
	"unsafe"
)

// allocatedBytes is what is made in all.
const allocatedBytes = 384 << 20

type gcObject16 struct {
	next  *gcObject16
	words [1]uint64
}

type gcObject64 struct {
	next  *gcObject64
	words [7]uint64
}

type gcObject256 struct {
	next  *gcObject256
	words [31]uint64
}

type gcObject1024 struct {
	next  *gcObject1024
	words [127]uint64
}

// gcSink keeps the compiler from making objects on the stack; each goroutine has one, on a cache line of its own.
type gcSink struct {
	object unsafe.Pointer
	_      [120]byte
}

func runAllocate(a *arguments) error {
	size, mutators := a.number("size", 16), a.number("mutators", 1)
	number := max(1, a.scaled("bytes", allocatedBytes)/size/mutators)
	allocate, known := map[int]func(*gcSink, int) error{
		16: allocate16, 64: allocate64, 256: allocate256, 1024: allocate1024,
	}[size]
	if !known {
		return fmt.Errorf("size=%d is none of 16, 64, 256, 1024", size)
	}
	type made struct {
		time time.Duration
		err  error
	}
	results := make(chan made)
	for range mutators {
		go func() {
			sink := new(gcSink)
			start := time.Now()
			err := allocate(sink, number)
			results <- made{time.Since(start), err}
		}()
	}
	var longest time.Duration
	var all []error
	for range mutators {
		one := <-results
		longest = max(longest, one.time)
		all = append(all, one.err)
	}
	figure("time", nanosEach(longest, number), "ns")
	return errors.Join(all...)
}

func allocate16(sink *gcSink, number int) error {
	var last *gcObject16
	for n := range number {
		last = new(gcObject16)
		last.words[len(last.words)-1] = uint64(n)
		sink.object = unsafe.Pointer(last)
	}
	return checkAllocated(last.words[len(last.words)-1], number)
}

func allocate64(sink *gcSink, number int) error {
	var last *gcObject64
	for n := range number {
		last = new(gcObject64)
		last.words[len(last.words)-1] = uint64(n)
		sink.object = unsafe.Pointer(last)
	}
	return checkAllocated(last.words[len(last.words)-1], number)
}

func allocate256(sink *gcSink, number int) error {
	var last *gcObject256
	for n := range number {
		last = new(gcObject256)
		last.words[len(last.words)-1] = uint64(n)
		sink.object = unsafe.Pointer(last)
	}
	return checkAllocated(last.words[len(last.words)-1], number)
}

func allocate1024(sink *gcSink, number int) error {
	var last *gcObject1024
	for n := range number {
		last = new(gcObject1024)
		last.words[len(last.words)-1] = uint64(n)
		sink.object = unsafe.Pointer(last)
	}
	return checkAllocated(last.words[len(last.words)-1], number)
}

func checkAllocated(word uint64, number int) error {
	if word != uint64(number-1) {
		return errors.New("an object does not hold what was written")
	}
	return nil
}
