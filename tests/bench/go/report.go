// What the workloads share: their arguments, their figures, and a reading of memory.

package main

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
)

// arguments are the key=value words of a run. What is wrong with them is kept until the workload asks for the problem.
type arguments struct {
	given map[string]string
	asked map[string]bool
	wrong error
}

func parseArguments(words []string) (*arguments, error) {
	a := &arguments{given: map[string]string{}, asked: map[string]bool{"scale": true}}
	for _, word := range words {
		key, value, found := strings.Cut(word, "=")
		if !found {
			return nil, fmt.Errorf("%q is not of the form key=value", word)
		}
		a.given[key] = value
	}
	return a, nil
}

// text returns a word, or what it is if not given.
func (a *arguments) text(key, ifNotGiven string) string {
	a.asked[key] = true
	if text, given := a.given[key]; given {
		return text
	}
	return ifNotGiven
}

// number returns a number, or what it is if not given.
func (a *arguments) number(key string, ifNotGiven int) int {
	a.asked[key] = true
	text, given := a.given[key]
	if !given {
		return ifNotGiven
	}
	number, err := strconv.Atoi(text)
	if err != nil {
		a.wrong = fmt.Errorf("%s=%s is not a number that fits", key, text)
		return ifNotGiven
	}
	return number
}

// scale returns by how much the work is multiplied.
func (a *arguments) scale() float64 {
	text, given := a.given["scale"]
	if !given {
		return 1
	}
	scale, err := strconv.ParseFloat(text, 64)
	if err != nil || scale <= 0 || math.IsInf(scale, 0) {
		a.wrong = fmt.Errorf("scale=%s is not a positive number", text)
		return 1
	}
	return scale
}

// scaled returns a number multiplied by the scale, at least 1.
func (a *arguments) scaled(key string, ifNotGiven int) int {
	return max(1, int(math.Ceil(float64(a.number(key, ifNotGiven))*a.scale())))
}

// all returns everything that was given.
func (a *arguments) all() map[string]string {
	for key := range a.given {
		a.asked[key] = true
	}
	return a.given
}

// problem tells what was wrong with the arguments asked for so far, or what nobody asked for.
func (a *arguments) problem() error {
	if a.wrong != nil {
		return a.wrong
	}
	for key := range a.given {
		if !a.asked[key] {
			return fmt.Errorf("the workload has no argument %s", key)
		}
	}
	return nil
}

// figure reports one.
func figure(name string, value float64, unit string) {
	fmt.Println("figure", name, strconv.FormatFloat(value, 'f', -1, 64), unit)
}

func millis(d time.Duration) float64 {
	return d.Seconds() * 1e3
}

func micros(d time.Duration) float64 {
	return d.Seconds() * 1e6
}

// nanosEach returns nanoseconds for each of a number of things.
func nanosEach(d time.Duration, number int) float64 {
	return d.Seconds() * 1e9 / float64(number)
}

func megabytes(bytes int) float64 {
	return float64(bytes) / 1e6
}

// peakRSS returns the most resident memory that this process has had, in bytes.
func peakRSS() (int, error) {
	const path = "/proc/self/status"
	status, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" && fields[2] == "kB" {
			kilobytes, err := strconv.Atoi(fields[1])
			return kilobytes * 1024, err
		}
	}
	return 0, fmt.Errorf("%s has no line VmHWM in kB", path)
}
