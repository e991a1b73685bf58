// The contestant in Go, for all suites; a file or more for each.
//
// It is started as PROGRAM WORKLOAD [key=value ...], measures itself, checks its own result, and prints its figures, one a line.
// PROGRAM --list names its workloads. It ends with 0, or with 1 and a message when it could not do its work or did it wrong.

package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
)

// workloads is filled in by each suite's init.
var workloads = map[string]func(*arguments) error{}

func main() {
	if err := start(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func start(words []string) error {
	if len(words) == 0 {
		return fmt.Errorf("which workload? --list names those there are")
	}
	if words[0] == "--list" {
		for _, name := range slices.Sorted(maps.Keys(workloads)) {
			fmt.Println(name)
		}
		return nil
	}
	run, known := workloads[words[0]]
	if !known {
		return fmt.Errorf("no workload %s; --list names those there are", words[0])
	}
	arguments, err := parseArguments(words[1:])
	if err != nil {
		return err
	}
	if err := run(arguments); err != nil {
		return err
	}
	return arguments.problem()
}
