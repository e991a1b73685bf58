// Channels: between two, from many to one, from many to many, from two as they come.

package main

import (
	"runtime"
	"sync"
	"time"
)

func schedPingPong(a *arguments) error {
	rounds := a.scaled("rounds", 1_000_000)
	if err := play(rounds / 10); err != nil {
		return err
	}
	start := time.Now()
	if err := play(rounds); err != nil {
		return err
	}
	timeEach(time.Since(start), rounds)
	return nil
}

func schedPingPongParallel(a *arguments) error {
	rounds := a.scaled("rounds", 200_000)
	pairs := schedPairs * runtime.NumCPU()
	all := func(rounds int) error {
		results := make(chan error, pairs)
		for range pairs {
			go func() { results <- play(rounds) }()
		}
		var failed error
		for range pairs {
			if err := <-results; err != nil {
				failed = err
			}
		}
		return failed
	}
	if err := all(rounds / 10); err != nil {
		return err
	}
	start := time.Now()
	if err := all(rounds); err != nil {
		return err
	}
	timeEach(time.Since(start), rounds*pairs)
	return nil
}

// play sends numbers to a partner, who sends the next number back.
func play(rounds int) error {
	ping, pong, seen := make(chan int), make(chan int), make(chan int)
	go func() {
		count := 0
		for number := range ping {
			pong <- number + 1
			count++
		}
		seen <- count
	}()
	for i := range rounds {
		ping <- i
		if err := expect("answer", <-pong, i+1); err != nil {
			return err
		}
	}
	close(ping)
	return expect("messages that the partner saw", <-seen, rounds)
}

func schedMpsc(a *arguments) error {
	messages := a.scaled("messages", 5_000_000) / schedEnds
	return manyTo(1, schedEnds, messages)
}

func schedMpmc(a *arguments) error {
	messages := a.scaled("messages", 5_000_000) / schedEnds
	return manyTo(schedEnds, schedEnds, messages)
}

func schedFanIn(a *arguments) error {
	return manyTo(1, schedSenders, a.scaled("messages", 5_000))
}

// manyTo does a tenth of the work to warm up, and then all of it.
func manyTo(receivers, senders, messages int) error {
	if err := exchange(receivers, senders, messages/10); err != nil {
		return err
	}
	start := time.Now()
	if err := exchange(receivers, senders, messages); err != nil {
		return err
	}
	timeEach(time.Since(start), senders*messages)
	return nil
}

// exchange has each of the senders send the numbers below messages to the receivers, over one channel. A single receiver is the caller.
func exchange(receivers, senders, messages int) error {
	type total struct{ count, sum int }
	numbers := make(chan int, schedCapacity)
	var sending sync.WaitGroup
	for range senders {
		sending.Go(func() {
			for i := range messages {
				numbers <- i
			}
		})
	}
	go func() {
		sending.Wait()
		close(numbers)
	}()
	receive := func() (received total) {
		for number := range numbers {
			received.count++
			received.sum += number
		}
		return received
	}
	totals := make(chan total, receivers)
	for range receivers - 1 {
		go func() { totals <- receive() }()
	}
	totals <- receive()
	var all total
	for range receivers {
		received := <-totals
		all.count += received.count
		all.sum += received.sum
	}
	return expect("count and sum of the messages", all, total{senders * messages, senders * sumBelow(messages)})
}

func schedSelect(a *arguments) error {
	messages := a.scaled("messages", 2_000_000) / 2
	if err := fromTwo(messages / 10); err != nil {
		return err
	}
	start := time.Now()
	if err := fromTwo(messages); err != nil {
		return err
	}
	timeEach(time.Since(start), 2*messages)
	return nil
}

// fromTwo receives so many numbers from each of two channels, as they come.
func fromTwo(messages int) error {
	source := func() <-chan int {
		numbers := make(chan int)
		go func() {
			for i := range messages {
				numbers <- i
			}
		}()
		return numbers
	}
	left, right := source(), source()
	var sums [2]int
	for range 2 * messages {
		select {
		case number := <-left:
			sums[0] += number
		case number := <-right:
			sums[1] += number
		}
	}
	return expect("sums of the messages", sums, [2]int{sumBelow(messages), sumBelow(messages)})
}
