// The workloads of the gc suite.

package main

import (
	"errors"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

func init() {
	workloads["allocate"] = runAllocate
	workloads["binary_trees"] = runTrees
	workloads["buffers"] = runBuffers
	workloads["churn"] = runChurn
	workloads["mark"] = runMark
	workloads["barrier"] = runBarrier
	workloads["map"] = runMap
	workloads["cycles"] = runRings
	workloads["pause"] = runPause
	workloads["goroutine_stacks"] = runParked
}

func runTrees(a *arguments) error {
	depth, scale := a.number("depth", 16), a.scale()
	start := time.Now()
	err := gcTreesShared(a.number("mutators", 1), depth, scale)
	figure("time", millis(time.Since(start)), "ms")
	return errors.Join(err, figurePeakRSS())
}

func runChurn(a *arguments) error {
	objects := a.scaled("objects", 5_000_000)
	ring := fillChurn(a.number("ring", 100_000))
	start := time.Now()
	if err := gcChurn(ring, objects); err != nil {
		return err
	}
	figure("time", nanosEach(time.Since(start), objects), "ns")
	return errors.Join(figurePeakRSS(), verifyChurn(ring))
}

func runMark(a *arguments) error {
	nodes, collections := a.scaled("nodes", 2_000_000), a.number("collections", 5)
	bytes, verify, err := buildShape(a.text("shape", "web"), nodes)
	if err != nil {
		return err
	}
	runtime.GC()
	start := time.Now()
	for range collections {
		runtime.GC()
	}
	elapsed := time.Since(start) / time.Duration(collections)
	figure("time", millis(elapsed), "ms")
	figure("throughput", megabytes(bytes)/elapsed.Seconds(), "MB/s")
	return verify()
}

func runBarrier(a *arguments) error {
	number := a.scaled("stores", 30_000_000)
	stores := newStores(a.number("places", 1<<20))
	start := time.Now()
	stores.run(number)
	figure("time", nanosEach(time.Since(start), number), "ns")
	return stores.verify(number)
}

func runMap(a *arguments) error {
	keys := a.scaled("keys", 1_000_000)
	m := newMap(keys)
	start := time.Now()
	operations, err := m.run(keys)
	if err != nil {
		return err
	}
	figure("time", nanosEach(time.Since(start), operations), "ns")
	return nil
}

func runRings(a *arguments) error {
	rings, nodes := a.scaled("rings", 150_000), a.number("nodes", 64)
	start := time.Now()
	if err := gcRings(rings, nodes); err != nil {
		return err
	}
	figure("time", nanosEach(time.Since(start), rings*nodes), "ns")
	return figurePeakRSS()
}

func runPause(a *arguments) error {
	nodes, rate := a.scaled("nodes", 2_000_000), a.number("rate", 10_000)
	bursts := a.scaled("milliseconds", 1_000)
	table := buildWeb(nodes)
	runtime.GC()
	var over atomic.Bool
	ticked := make(chan []time.Duration)
	go func() {
		late := make([]time.Duration, 0, 1<<20)
		gcTick(&over, func(d time.Duration) { late = append(late, d) })
		ticked <- late
	}()
	gcAllocate(table, bursts, rate, &over)
	late := <-ticked
	if len(late) == 0 {
		return errors.New("the ticker never ran; give it more milliseconds")
	}
	slices.Sort(late)
	figure("p99", micros(late[len(late)*99/100]), "us")
	figure("max", micros(late[len(late)-1]), "us")
	var stats debug.GCStats
	debug.ReadGCStats(&stats)
	if len(stats.Pause) > 0 {
		figure("longest_pause", micros(slices.Max(stats.Pause)), "us")
	}
	return verifyPlaces(table)
}

// runParked collects while many goroutines are parked, each with a node that only its stack holds.
func runParked(a *arguments) error {
	goroutines, collections := a.scaled("goroutines", 10_000), a.number("collections", 5)
	var parked, done sync.WaitGroup
	var lost atomic.Int64
	release := make(chan struct{})
	for number := range goroutines {
		parked.Add(1)
		done.Go(func() {
			node := newNode(uint64(number))
			parked.Done()
			<-release
			if node.word != uint64(number) {
				lost.Add(1)
			}
		})
	}
	parked.Wait()
	runtime.GC()
	start := time.Now()
	for range collections {
		runtime.GC()
	}
	elapsed := time.Since(start) / time.Duration(collections)
	close(release)
	done.Wait()
	figure("time", millis(elapsed), "ms")
	if lost.Load() != 0 {
		return errors.New("a node that a parked goroutine held was overwritten")
	}
	return nil
}

func figurePeakRSS() error {
	peak, err := peakRSS()
	figure("peak_rss", megabytes(peak), "MB")
	return err
}

// newNode is not inlined, so that the node is not made on the stack of the caller.
//
//go:noinline
func newNode(word uint64) *gcNode {
	return &gcNode{word: word}
}
