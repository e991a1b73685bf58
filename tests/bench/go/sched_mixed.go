// System calls that block their thread, and computing beside goroutines that should not wait for it.

package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func schedBlockingCalls(a *arguments) error {
	calls := a.scaled("calls", 150)
	all := func(calls int) int {
		var made atomic.Int64
		var group sync.WaitGroup
		for range schedBlockers {
			group.Go(func() {
				for range calls {
					blockThread(time.Millisecond)
					made.Add(1)
				}
			})
		}
		group.Wait()
		return int(made.Load())
	}
	all(calls / 10)
	start := time.Now()
	made := all(calls)
	figure("time", time.Since(start).Seconds()*1e3, "ms")
	return expect("calls", made, schedBlockers*calls)
}

// blockThread sleeps in a system call, as a read of a slow file would.
func blockThread(how time.Duration) {
	left := syscall.NsecToTimespec(how.Nanoseconds())
	// A signal that the runtime sends to itself ends the call early, and says how much is left.
	for syscall.Nanosleep(&left, &left) == syscall.EINTR {
	}
}

func schedBlockingShort(a *arguments) error {
	calls := a.scaled("calls", 100_000)
	// syscall.Getppid does not tell the scheduler, since it never blocks; this does.
	parent := func() uintptr {
		id, _, _ := syscall.Syscall(syscall.SYS_GETPPID, 0, 0, 0)
		return id
	}
	expected, same := parent(), 0
	start := time.Now()
	for range calls {
		if parent() == expected {
			same++
		}
	}
	timeEach(time.Since(start), calls)
	return expect("calls with the right answer", same, calls)
}

func schedCPUAndIO(a *arguments) error {
	late := make([]time.Duration, a.scaled("tasks", 100))
	hogs := startHogs(runtime.NumCPU())
	right := burn(schedShortTask)
	answers := make(chan uint64)
	for i := range late {
		due := time.Now().Add(time.Millisecond)
		time.Sleep(time.Until(due))
		go func() { answers <- burn(schedShortTask) }()
		answer := <-answers
		late[i] = time.Since(due)
		if err := expect("what a short task computed", answer, right); err != nil {
			return err
		}
	}
	hogs.stop()
	return reportLatencies(late)
}

// hogs are goroutines that compute and never wait.
type hogs struct {
	over    atomic.Bool
	running sync.WaitGroup
	// What they compute has to go somewhere.
	sink atomic.Uint64
}

func startHogs(count int) *hogs {
	h := new(hogs)
	for range count {
		h.running.Go(func() {
			last := uint64(0)
			for !h.over.Load() {
				last = burn(schedShortTask)
			}
			h.sink.Store(last)
		})
	}
	return h
}

func (h *hogs) stop() {
	h.over.Store(true)
	h.running.Wait()
}
