// The net suite: an echo server, a goroutine for each connection, under the load of the generator that NET_LOAD names.

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
)

func init() {
	for _, workload := range []string{"echo", "reconnect"} {
		workloads[workload] = func(a *arguments) error { return netEcho(workload, a) }
	}
}

func netEcho(workload string, a *arguments) error {
	generator := os.Getenv("NET_LOAD")
	if generator == "" {
		return errors.New("set NET_LOAD to the path of the load generator, net_load")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	buffer := max(4096, a.number("size", 0))
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go echo(connection, buffer)
		}
	}()
	load := exec.Command(generator, workload, "server="+listener.Addr().String())
	for name, value := range a.all() {
		load.Args = append(load.Args, name+"="+value)
	}
	load.Stdout, load.Stderr = os.Stdout, os.Stderr
	if err := load.Run(); err != nil {
		return fmt.Errorf("the load generator failed: %w", err)
	}
	return nil
}

// echo sends back what it receives. A connection that fails is over; the generator will say so.
func echo(connection net.Conn, size int) {
	defer connection.Close()
	buffer := make([]byte, size)
	for {
		n, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err := connection.Write(buffer[:n]); err != nil {
			return
		}
	}
}
