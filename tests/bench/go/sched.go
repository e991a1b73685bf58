// The workloads of the sched suite, with the sizes of src/workloads/sched/sizes.rs.

package main

import (
	"fmt"
	"time"
)

func init() {
	workloads["spawn_join"] = schedSpawnJoin
	workloads["spawn_many"] = schedSpawnMany
	workloads["yield"] = schedYield
	workloads["skynet"] = schedSkynet
	workloads["chain"] = schedChain
	workloads["parked_memory"] = schedParkedMemory
	workloads["ping_pong"] = schedPingPong
	workloads["ping_pong_parallel"] = schedPingPongParallel
	workloads["mpsc"] = schedMpsc
	workloads["mpmc"] = schedMpmc
	workloads["fan_in"] = schedFanIn
	workloads["select"] = schedSelect
	workloads["mutex"] = schedMutex
	workloads["rwlock"] = schedRWMutex
	workloads["wait_group"] = schedWaitGroup
	workloads["timers"] = schedTimers
	workloads["timer_reset"] = schedTimerReset
	workloads["sleep_precision"] = schedSleepPrecision
	workloads["blocking_calls"] = schedBlockingCalls
	workloads["blocking_short"] = schedBlockingShort
	workloads["cpu_and_io"] = schedCPUAndIO
}

const (
	schedRounds    = 3
	schedYielders  = 1_000
	schedPairs     = 4
	schedEnds      = 4
	schedCapacity  = 128
	schedSenders   = 1_000
	schedLockers   = 8
	schedChildren  = 10
	schedGroup     = 100
	schedBlockers  = 64
	schedShortTask = 1_000
)

// timeEach prints the figure time: nanoseconds for each of count.
func timeEach(elapsed time.Duration, count int) {
	figure("time", float64(elapsed.Nanoseconds())/float64(count), "ns")
}

// expect gives an error unless both are the same.
func expect[T comparable](what string, found, expected T) error {
	if found == expected {
		return nil
	}
	return fmt.Errorf("%s: %v instead of %v", what, found, expected)
}

// sumBelow gives the sum of the numbers below count.
func sumBelow(count int) int {
	return count * (count - 1) / 2
}

// burn does arithmetic that cannot be shortened.
func burn(rounds int) uint64 {
	x := uint64(1)
	for i := range rounds {
		x = x*6364136223846793005 + uint64(i)
	}
	return x
}
