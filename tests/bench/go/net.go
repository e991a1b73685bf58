// The net suite: an echo server, a goroutine for each connection, and an HTTP server of the standard library, under the load of the generator that NET_LOAD names.

package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
)

func init() {
	for _, workload := range []string{"echo", "reconnect"} {
		workloads[workload] = func(a *arguments) error { return netEcho(workload, a) }
	}
	workloads["http"] = netHTTP
}

func netEcho(workload string, a *arguments) error {
	buffer := max(4096, a.number("size", 0))
	return serve(workload, a, func(listener net.Listener) {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go echo(connection, buffer)
		}
	})
}

func netHTTP(a *arguments) error {
	hello := []byte("Hello, World!")
	handler := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Write(hello)
	}
	return serve("http", a, func(listener net.Listener) {
		http.Serve(listener, http.HandlerFunc(handler))
	})
}

// serve runs a server until the load generator has done its work.
func serve(workload string, a *arguments, server func(net.Listener)) error {
	generator := os.Getenv("NET_LOAD")
	if generator == "" {
		return errors.New("set NET_LOAD to the path of the load generator, net_load")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go server(listener)
	load := exec.Command(generator, workload, "server="+listener.Addr().String(), fmt.Sprintf("process=%d", os.Getpid()))
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
