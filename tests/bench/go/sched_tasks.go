// Starting goroutines, waiting for them, switching between them, parking many.

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

func schedSpawnJoin(a *arguments) error {
	count := a.scaled("count", 200_000)
	oneByOne := func(count int) (sum int) {
		var one sync.WaitGroup
		for i := range count {
			one.Go(func() { sum += i })
			one.Wait()
		}
		return sum
	}
	oneByOne(count / 10)
	start := time.Now()
	sum := oneByOne(count)
	timeEach(time.Since(start), count)
	return expect("sum of what the goroutines did", sum, sumBelow(count))
}

func schedSpawnMany(a *arguments) error {
	count := a.scaled("count", 100_000)
	atOnce := func() error {
		var all sync.WaitGroup
		results := make([]int, count)
		for i := range count {
			all.Go(func() { results[i] = i })
		}
		all.Wait()
		sum := 0
		for _, result := range results {
			sum += result
		}
		return expect("sum of what the goroutines did", sum, sumBelow(count))
	}
	if err := atOnce(); err != nil {
		return err
	}
	start := time.Now()
	for range schedRounds {
		if err := atOnce(); err != nil {
			return err
		}
	}
	timeEach(time.Since(start), count*schedRounds)
	return nil
}

func schedYield(a *arguments) error {
	yields := a.scaled("yields", 3_000)
	var done atomic.Int64
	all := func(yields int) {
		var group sync.WaitGroup
		for range schedYielders {
			group.Go(func() {
				for range yields {
					runtime.Gosched()
				}
				done.Add(int64(yields))
			})
		}
		group.Wait()
	}
	all(yields / 10)
	done.Store(0)
	start := time.Now()
	all(yields)
	count := yields * schedYielders
	timeEach(time.Since(start), count)
	return expect("yields", done.Load(), int64(count))
}

func schedSkynet(a *arguments) error {
	leaves := 1
	for leaves*schedChildren <= a.scaled("leaves", 100_000) {
		leaves *= schedChildren
	}
	tree := func() error {
		result := make(chan int, 1)
		go subtree(0, leaves, result)
		return expect("sum over the leaves", <-result, sumBelow(leaves))
	}
	if err := tree(); err != nil {
		return err
	}
	start := time.Now()
	for range schedRounds {
		if err := tree(); err != nil {
			return err
		}
	}
	figure("time", time.Since(start).Seconds()*1e3/schedRounds, "ms")
	return nil
}

// subtree sends the sum of so many numbers from first on.
func subtree(first, leaves int, up chan<- int) {
	if leaves == 1 {
		up <- first
		return
	}
	sums := make(chan int, schedChildren)
	each := leaves / schedChildren
	for child := range schedChildren {
		go subtree(first+child*each, each, sums)
	}
	sum := 0
	for range schedChildren {
		sum += <-sums
	}
	up <- sum
}

func schedChain(a *arguments) error {
	goroutines, messages := a.number("tasks", 10_000), a.scaled("messages", 100)
	head := make(chan int)
	last := head
	for range goroutines {
		from, next := last, make(chan int)
		go func() {
			defer close(next)
			for hops := range from {
				next <- hops + 1
			}
		}()
		last = next
	}
	through := func() error {
		head <- 0
		return expect("hops of a message", <-last, goroutines)
	}
	if err := through(); err != nil {
		return err
	}
	start := time.Now()
	for range messages {
		if err := through(); err != nil {
			return err
		}
	}
	timeEach(time.Since(start), messages*goroutines)
	close(head)
	_, open := <-last
	return expect("a message after the last", open, false)
}

func schedParkedMemory(a *arguments) error {
	count := a.scaled("count", 100_000)
	var running atomic.Int64
	var sum atomic.Int64
	before, err := resident()
	if err != nil {
		return err
	}
	senders := make([]chan int, count)
	var all sync.WaitGroup
	for i := range count {
		values := make(chan int, 1)
		senders[i] = values
		all.Go(func() {
			running.Add(1)
			sum.Add(int64(<-values + i))
		})
	}
	for running.Load() < int64(count) {
		time.Sleep(time.Millisecond)
	}
	after, err := resident()
	if err != nil {
		return err
	}
	figure("memory", float64(after-before)/float64(count), "B")
	for _, values := range senders {
		values <- 1
	}
	all.Wait()
	return expect("sum of what the goroutines received", sum.Load(), int64(sumBelow(count)+count))
}
