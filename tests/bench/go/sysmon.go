// The sysmon suite, with the sizes of src/workloads/sysmon.rs.

package main

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

func init() {
	workloads["idle"] = sysmonIdle
	workloads["busy"] = sysmonBusy
	workloads["hog_latency"] = sysmonHogLatency
	workloads["blocked_handoff"] = sysmonBlockedHandoff
}

const (
	sysmonParked   = 1_000
	sysmonSettling = 100 * time.Millisecond
)

// watched is the time that is watched.
func watched(a *arguments) time.Duration {
	return time.Duration(float64(time.Second) * a.scale())
}

func sysmonIdle(a *arguments) error {
	var parked sync.WaitGroup
	over := make(chan struct{})
	for range sysmonParked {
		parked.Go(func() { <-over })
	}
	time.Sleep(sysmonSettling)
	before, start := usageNow(), time.Now()
	time.Sleep(watched(a))
	after, seconds := usageNow(), time.Since(start).Seconds()
	figure("cpu", (after.cpu-before.cpu).Seconds()*1e3/seconds, "ms/s")
	figure("switches", float64(after.switches-before.switches)/seconds, "1/s")
	close(over)
	parked.Wait()
	return nil
}

func sysmonBusy(a *arguments) error {
	procs := runtime.GOMAXPROCS(0)
	hogs := startHogs(procs)
	time.Sleep(sysmonSettling)
	before, err := threadTimes()
	if err != nil {
		return err
	}
	start := time.Now()
	time.Sleep(watched(a))
	after, err := threadTimes()
	if err != nil {
		return err
	}
	seconds := time.Since(start).Seconds()
	hogs.stop()
	var used []time.Duration
	for id, cpu := range after {
		used = append(used, cpu-before[id])
	}
	slices.Sort(used)
	// The threads that used most run the program, the others run the runtime beside it.
	var overhead time.Duration
	for _, cpu := range used[:max(0, len(used)-procs)] {
		overhead += cpu
	}
	figure("overhead", overhead.Seconds()*1e3/seconds, "ms/s")
	return nil
}

func sysmonHogLatency(a *arguments) error {
	late := make([]time.Duration, a.scaled("ticks", 200))
	hogs := startHogs(2 * runtime.NumCPU())
	done := make(chan struct{})
	go func() {
		due := time.Now()
		for i := range late {
			due = due.Add(5 * time.Millisecond)
			time.Sleep(time.Until(due))
			late[i] = time.Since(due)
		}
		close(done)
	}()
	<-done
	hogs.stop()
	return reportLatencies(late)
}

func sysmonBlockedHandoff(a *arguments) error {
	late := make([]time.Duration, a.scaled("handoffs", 100))
	for i := range late {
		started := time.Now()
		other := make(chan time.Duration, 1)
		go func() { other <- time.Since(started) }()
		blockThread(5 * time.Millisecond)
		late[i] = <-other
	}
	return reportLatencies(late)
}
