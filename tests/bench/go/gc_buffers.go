// buffers: a ring of large live buffers, each overwritten by a new one in its turn, and how long the slowest of these writes take.
//
// The program does nothing else, so a write is slow because the collector has stopped it, or has it work or wait. Each is timed from the end of the one before.

package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// bufferBytes is what a buffer holds.
const bufferBytes = 1024

func runBuffers(a *arguments) error {
	places, writes := a.number("ring", 200_000), a.scaled("writes", 5_000_000)
	ring := make([][]byte, places)
	contents := make([]byte, bufferBytes)
	for number := range places {
		writeBuffer(ring, contents, number)
	}
	times := make([]time.Duration, 0, writes)
	start := time.Now()
	last := start
	for number := places; number < places+writes; number++ {
		writeBuffer(ring, contents, number)
		now := time.Now()
		times = append(times, now.Sub(last))
		last = now
	}
	figure("time", nanosEach(last.Sub(start), writes), "ns")
	slices.Sort(times)
	figure("p99.9", micros(times[(writes*999+999)/1000-1]), "us")
	figure("max", micros(times[writes-1]), "us")
	if err := figurePeakRSS(); err != nil {
		return err
	}
	for number := writes; number < places+writes; number++ {
		if found := binary.LittleEndian.Uint64(ring[number%places][bufferBytes-8:]); found != uint64(number) {
			return fmt.Errorf("place %d holds write %d, not %d", number%places, found, number)
		}
	}
	return nil
}

func writeBuffer(ring [][]byte, contents []byte, number int) {
	binary.LittleEndian.PutUint64(contents[bufferBytes-8:], uint64(number))
	ring[number%len(ring)] = copyBytes(contents)
}
