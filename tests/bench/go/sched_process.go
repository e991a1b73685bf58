// Latencies, and what the kernel says of this process.

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// reportLatencies prints p50 and p99 in microseconds.
func reportLatencies(late []time.Duration) error {
	if len(late) == 0 {
		return errors.New("nothing was measured; give it a larger scale")
	}
	slices.Sort(late)
	for _, percent := range []int{50, 99} {
		// The smallest that so many percent are not above.
		rank := (len(late)*percent + 99) / 100
		nanos := late[rank-1].Nanoseconds()
		figure(fmt.Sprintf("p%d", percent), float64(nanos)/1e3, "us")
	}
	return nil
}

// resident gives the resident memory, in bytes.
func resident() (int, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0, err
	}
	return pages * os.Getpagesize(), nil
}

// usage is what the process has used so far.
type usage struct {
	cpu      time.Duration
	switches int64
}

func usageNow() usage {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return usage{
		cpu:      time.Duration(r.Utime.Nano() + r.Stime.Nano()),
		switches: r.Nvcsw + r.Nivcsw,
	}
}

// threadTimes gives the processor time that each live thread has used so far, by its id.
func threadTimes() (map[int]time.Duration, error) {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	times := make(map[int]time.Duration)
	for _, entry := range entries {
		id, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/schedstat", id))
		if err != nil {
			// It has ended meanwhile.
			continue
		}
		var nanos int64
		if _, err := fmt.Sscan(string(text), &nanos); err != nil {
			return nil, err
		}
		times[id] = time.Duration(nanos)
	}
	return times, nil
}
