// Locks with short critical sections, which several goroutines want at the same time, and waiting for a group.

package main

import (
	"sync"
	"sync/atomic"
	"time"
)

const schedWriteEvery = 16

func schedMutex(a *arguments) error {
	times := a.scaled("times", 750_000)
	var lock sync.Mutex
	counter := 0
	all := func(times int) {
		together(func() {
			for range times {
				lock.Lock()
				counter++
				lock.Unlock()
			}
		})
	}
	all(times / 10)
	before := counter
	start := time.Now()
	all(times)
	timeEach(time.Since(start), schedLockers*times)
	return expect("counted under the lock", counter-before, schedLockers*times)
}

func schedRWMutex(a *arguments) error {
	times := a.scaled("times", 750_000)
	var lock sync.RWMutex
	var pair [2]int
	var torn atomic.Int64
	all := func(times int) {
		together(func() {
			for i := range times {
				if i%schedWriteEvery == 0 {
					lock.Lock()
					pair = [2]int{pair[0] + 1, pair[1] + 1}
					lock.Unlock()
				} else {
					lock.RLock()
					if pair[0] != pair[1] {
						torn.Add(1)
					}
					lock.RUnlock()
				}
			}
		})
	}
	all(times / 10)
	before := pair[0]
	start := time.Now()
	all(times)
	timeEach(time.Since(start), schedLockers*times)
	if err := expect("torn reads", torn.Load(), 0); err != nil {
		return err
	}
	writes := (times + schedWriteEvery - 1) / schedWriteEvery
	return expect("writes", pair[0]-before, schedLockers*writes)
}

// together runs as many as schedLockers to their end.
func together(body func()) {
	var all sync.WaitGroup
	for range schedLockers {
		all.Go(body)
	}
	all.Wait()
}

func schedWaitGroup(a *arguments) error {
	groups := a.scaled("groups", 10_000)
	var group sync.WaitGroup
	var done atomic.Int64
	all := func(groups int) {
		for range groups {
			group.Add(schedGroup)
			for range schedGroup {
				go func() {
					done.Add(1)
					group.Done()
				}()
			}
			group.Wait()
		}
	}
	all(groups / 10)
	done.Store(0)
	start := time.Now()
	all(groups)
	timeEach(time.Since(start), groups*schedGroup)
	return expect("goroutines waited for", done.Load(), int64(groups*schedGroup))
}
