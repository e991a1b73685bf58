// Sleeping and timeouts: many at once, one that never comes, one that should be exact.

package main

import (
	"errors"
	"sync"
	"time"
)

var errTooEarly = errors.New("a sleep ended before its time")

func schedTimers(a *arguments) error {
	sleepers := a.scaled("sleepers", 100_000)
	all := func() ([]time.Duration, error) {
		late := make([]time.Duration, sleepers)
		var group sync.WaitGroup
		for i := range sleepers {
			group.Go(func() { late[i] = lateBy(time.Duration(1_000+i*7_919%49_000) * time.Microsecond) })
		}
		group.Wait()
		for _, one := range late {
			if one < 0 {
				return nil, errTooEarly
			}
		}
		return late, nil
	}
	if _, err := all(); err != nil {
		return err
	}
	before := usageNow().cpu
	late, err := all()
	if err != nil {
		return err
	}
	figure("cpu", (usageNow().cpu-before).Seconds()*1e3, "ms")
	return reportLatencies(late)
}

func schedSleepPrecision(a *arguments) error {
	late := make([]time.Duration, a.scaled("sleeps", 800))
	for i := range late {
		late[i] = lateBy(100 * time.Microsecond)
		if late[i] < 0 {
			return errTooEarly
		}
	}
	return reportLatencies(late)
}

// lateBy gives how much longer than that it sleeps.
func lateBy(sleep time.Duration) time.Duration {
	start := time.Now()
	time.Sleep(sleep)
	return time.Since(start) - sleep
}

func schedTimerReset(a *arguments) error {
	messages := a.scaled("messages", 500_000)
	if err := exchangeInTime(messages / 10); err != nil {
		return err
	}
	start := time.Now()
	if err := exchangeInTime(messages); err != nil {
		return err
	}
	timeEach(time.Since(start), 2*messages)
	return nil
}

// exchangeInTime sends numbers there and back; each reception has a timeout that does not come.
func exchangeInTime(messages int) error {
	ping, pong, partner := make(chan int), make(chan int), make(chan error, 1)
	go func() {
		timer := time.NewTimer(time.Minute)
		defer timer.Stop()
		for i := range messages {
			err := receiveInTime(ping, timer, i)
			pong <- i
			if err != nil {
				partner <- err
				return
			}
		}
		partner <- nil
	}()
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	for i := range messages {
		ping <- i
		if err := receiveInTime(pong, timer, i); err != nil {
			return err
		}
	}
	return <-partner
}

func receiveInTime(numbers <-chan int, timer *time.Timer, expected int) error {
	timer.Reset(time.Minute)
	select {
	case number := <-numbers:
		return expect("message", number, expected)
	case <-timer.C:
		return errors.New("a timeout came that should not")
	}
}
