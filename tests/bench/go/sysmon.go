// The sysmon suite, with the sizes of src/workloads/sysmon.rs.

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

func init() {
	workloads["idle"] = sysmonIdle
	workloads["busy"] = sysmonBusy
	workloads["hog_latency"] = sysmonHogLatency
	workloads["hog_network"] = sysmonHogNetwork
	workloads["blocked_handoff"] = sysmonBlockedHandoff
	workloads["undeclared_handoff"] = sysmonUndeclaredHandoff
	workloads["after_peak"] = sysmonAfterPeak
}

const (
	sysmonParked    = 1_000
	sysmonSettling  = 100 * time.Millisecond
	sysmonPeak      = 256 << 10
	sysmonAfterward = 5
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
	late := make([]time.Duration, a.scaled("ticks", 100))
	hogs := startHogs(2 * runtime.NumCPU())
	done := make(chan struct{})
	go func() {
		for i := range late {
			due := time.Now().Add(5 * time.Millisecond)
			time.Sleep(time.Until(due))
			late[i] = time.Since(due)
		}
		close(done)
	}()
	<-done
	hogs.stop()
	return reportLatencies(late)
}

// alarm is a timer of the kernel's that can be read when it has run out.
type alarm struct{ events *os.File }

const (
	clockMonotonic = 1
	timerNonblock  = 0x800
	timerCloexec   = 0x80000
)

func newAlarm() (alarm, error) {
	fd, _, why := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, clockMonotonic, timerNonblock|timerCloexec, 0)
	if why != 0 {
		return alarm{}, why
	}
	return alarm{os.NewFile(fd, "timer")}, nil
}

func (a alarm) set(after time.Duration) error {
	setting := [2]syscall.Timespec{1: syscall.NsecToTimespec(after.Nanoseconds())}
	raw, err := a.events.SyscallConn()
	if err != nil {
		return err
	}
	var why syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, why = syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&setting)), 0, 0, 0)
	})
	if why != 0 {
		err = why
	}
	return err
}

func sysmonHogNetwork(a *arguments) error {
	late := make([]time.Duration, a.scaled("ticks", 100))
	hogs := startHogs(2 * runtime.NumCPU())
	done := make(chan error)
	go func() {
		done <- func() error {
			alarm, err := newAlarm()
			if err != nil {
				return err
			}
			for i := range late {
				due := time.Now().Add(5 * time.Millisecond)
				if err := alarm.set(5 * time.Millisecond); err != nil {
					return err
				}
				var expirations [8]byte
				if _, err := io.ReadFull(alarm.events, expirations[:]); err != nil {
					return err
				}
				late[i] = time.Since(due)
			}
			return nil
		}()
	}()
	err := <-done
	hogs.stop()
	if err != nil {
		return err
	}
	return reportLatencies(late)
}

func sysmonBlockedHandoff(a *arguments) error {
	return handOver(a.scaled("handoffs", 100), func() { blockThread(5 * time.Millisecond) })
}

func sysmonUndeclaredHandoff(a *arguments) error {
	return handOver(a.scaled("handoffs", 25), func() { blockThreadUndeclared(30 * time.Millisecond) })
}

// blockThreadUndeclared sleeps in a system call of which the scheduler is not told.
func blockThreadUndeclared(how time.Duration) {
	left := syscall.NsecToTimespec(how.Nanoseconds())
	// The signal with which the scheduler asks for the processor ends the call early.
	for napUndeclared(&left) == syscall.EINTR {
	}
}

// napUndeclared is a function of its own because a goroutine can be taken off its processor where one begins, and not in the call.
//
//go:noinline
func napUndeclared(left *syscall.Timespec) syscall.Errno {
	_, _, why := syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(left)), uintptr(unsafe.Pointer(left)), 0)
	return why
}

// sysmonAfterPeak has a heap grow to its peak and become garbage, and then nothing happens. With quiet=1 nobody asks for a collection either.
func sysmonAfterPeak(a *arguments) error {
	seconds := a.number("seconds", sysmonAfterward)
	quiet := a.number("quiet", 0) != 0
	peak, err := climb(uint64(a.scaled("objects", sysmonPeak)))
	if err != nil {
		return err
	}
	if !quiet {
		runtime.GC()
	}
	figure("peak", float64(peak)/1e6, "MB")
	before, collected := collections(), 0
	for second := 1; second <= seconds; second++ {
		time.Sleep(time.Second)
		bytes, err := resident()
		if err != nil {
			return err
		}
		figure(fmt.Sprintf("rss_%d", second), float64(bytes)/1e6, "MB")
		if collected == 0 && collections() > before {
			collected = second
		}
	}
	if collected != 0 {
		figure("collected", float64(collected), "s")
	}
	return nil
}

// climb fills a heap and drops it; it gives the memory that was resident then.
//
//go:noinline
func climb(objects uint64) (int, error) {
	all := make([]*[128]uint64, objects)
	for n := range all {
		all[n] = new([128]uint64)
		for i := range all[n] {
			all[n][i] = uint64(n)
		}
	}
	var sum uint64
	for _, object := range all {
		sum += object[127]
	}
	if sum != objects*(objects-1)/2 {
		return 0, errors.New("the objects do not hold what was put into them")
	}
	return resident()
}

// collections is how many there have been.
func collections() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// handOver has a goroutine on each processor block, so often, and reports how long others waited that were ready.
func handOver(handoffs int, block func()) error {
	var late []time.Duration
	procs := runtime.GOMAXPROCS(0)
	waited := make(chan time.Duration, procs)
	for range handoffs {
		var running atomic.Int64
		for range procs {
			go func() { waited <- blockWithAll(&running, int64(procs), block) }()
		}
		for range procs {
			late = append(late, <-waited)
		}
	}
	return reportLatencies(late)
}

// blockWithAll waits until all run, one on each processor, so that none is idle; then makes a goroutine ready and blocks. It gives how long that
// one waited.
func blockWithAll(running *atomic.Int64, all int64, block func()) time.Duration {
	running.Add(1)
	for running.Load() < all {
	}
	ready := time.Now()
	other := make(chan time.Duration, 1)
	go func() { other <- time.Since(ready) }()
	block()
	return <-other
}
