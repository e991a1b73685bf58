// The stack suite: Go's own switch from coroutine to coroutine, which is what iter.Pull does. The sizes are those of src/workloads/stack/mod.rs.

package main

import (
	"iter"
	"time"
)

func init() {
	for name, run := range map[string]func(*arguments) error{
		"switch":         stackSwitch,
		"create_destroy": stackCreateDestroy,
		"create_many":    stackCreateMany,
		"deep_call":      stackDeepCall,
		"parked_stack":   stackParked,
		"recursion":      stackRecursion,
	} {
		workloads[name] = func(a *arguments) error {
			// Goroutines have no thread-local variables.
			a.asked["locals"] = true
			return run(a)
		}
	}
}

const (
	stackDepth = 256 << 10
	stackFrame = 1 << 10
)

func stackSwitch(a *arguments) error {
	count, counter := a.scaled("count", 10_000_000), 0
	next, stop := iter.Pull(func(yield func(struct{}) bool) {
		for {
			counter++
			if !yield(struct{}{}) {
				return
			}
		}
	})
	next()
	start := time.Now()
	for range count {
		next()
	}
	timeEach(time.Since(start), count)
	stop()
	return expect("resumptions", counter, count+1)
}

func stackCreateDestroy(a *arguments) error {
	count, counter := a.scaled("count", 3_000_000), 0
	oneByOne := func(count int) {
		for range count {
			next, _ := iter.Pull(func(func(struct{}) bool) { counter++ })
			next()
		}
	}
	oneByOne(count / 10)
	start := time.Now()
	oneByOne(count)
	timeEach(time.Since(start), count)
	return expect("coroutines that ran", counter, count/10+count)
}

func stackCreateMany(a *arguments) error {
	count, ended := a.scaled("count", 10_000), 0
	start := time.Now()
	stops := parkCoroutines(count, &ended)
	timeEach(time.Since(start), count)
	return endCoroutines(stops, &ended)
}

func stackParked(a *arguments) error {
	count, ended := a.scaled("count", 10_000), 0
	if err := endCoroutines(parkCoroutines(1, &ended), &ended); err != nil {
		return err
	}
	before, err := resident()
	if err != nil {
		return err
	}
	ended = 0
	stops := parkCoroutines(count, &ended)
	after, err := resident()
	if err != nil {
		return err
	}
	figure("memory", float64(after-before)/float64(count), "B")
	return endCoroutines(stops, &ended)
}

// parkCoroutines makes coroutines that have stopped in the middle, and count themselves at their end.
func parkCoroutines(count int, ended *int) []func() {
	stops := make([]func(), 0, count)
	for range count {
		next, stop := iter.Pull(func(yield func(struct{}) bool) {
			yield(struct{}{})
			*ended++
		})
		next()
		stops = append(stops, stop)
	}
	return stops
}

func endCoroutines(stops []func(), ended *int) error {
	for _, stop := range stops {
		stop()
	}
	return expect("coroutines that went on", *ended, len(stops))
}

func stackDeepCall(a *arguments) error {
	count, frames := a.scaled("count", 1_000), 0
	var stops []func()
	start := time.Now()
	for range count {
		next, stop := iter.Pull(func(yield func(struct{}) bool) {
			frames += descend(stackDepth / stackFrame)
			// Its stack is not to be used again, so that the next is fresh too.
			yield(struct{}{})
		})
		next()
		stops = append(stops, stop)
	}
	figure("time", float64(time.Since(start).Microseconds())/float64(count), "us")
	for _, stop := range stops {
		stop()
	}
	return expect("frames", frames, count*stackDepth/stackFrame)
}

// descend calls itself so many times, with a frame of stackFrame bytes each, and gives how many there were.
//
//go:noinline
func descend(frames int) int {
	var frame [stackFrame]byte
	fill(&frame, frames)
	if frames == 0 {
		return 0
	}
	return descend(frames-1) + int(frame[frames%stackFrame])
}

//go:noinline
func fill(frame *[stackFrame]byte, at int) {
	frame[at%stackFrame] = 1
}

// stackRecursion calls itself deeply on a fresh goroutine, and once more; the time for each frame.
func stackRecursion(a *arguments) error {
	frames := a.scaled("frames", 1_000_000)
	counted := make(chan int)
	go func() {
		sum := 0
		for _, name := range []string{"fresh", "again"} {
			start := time.Now()
			sum += countFrames(frames)
			figure(name, float64(time.Since(start).Nanoseconds())/float64(frames), "ns")
		}
		counted <- sum
	}()
	return expect("frames", <-counted, 2*frames)
}

// countFrames is as descend, with a frame of four words.
//
//go:noinline
func countFrames(frames int) int {
	frame := [4]int{frames, frames, frames, frames}
	if frames == 0 {
		return 0
	}
	touch(&frame)
	return countFrames(frames-1) + frame[3] + 1 - frames
}

//go:noinline
func touch(frame *[4]int) {
	frame[0]++
}
