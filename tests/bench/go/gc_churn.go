// churn: small objects of mixed sizes, of which most die at once and some live in a ring until their turn comes.
//
// Sizes from 16 to 512 bytes: five ranges, each twice the one before, equally often. One object in four replaces the oldest of the ring.

package main

import "fmt"

const (
	longestChurn = 512
	keptChurn    = 4
)

// churnSink keeps the compiler from seeing that an object dies at once.
var churnSink []byte

// gcChurn makes objects, with a ring filled by fillChurn.
func gcChurn(ring [][]byte, objects int) error {
	random := gcRandom(2)
	template := churnTemplate()
	place := 0
	for number := range objects {
		size := churnSize(&random)
		for i := range 8 {
			template[i] = byte(number >> (8 * i))
		}
		object := copyBytes(template[:size])
		if number%keptChurn == 0 {
			if err := checkChurn(ring[place]); err != nil {
				return err
			}
			ring[place] = object
			if place++; place == len(ring) {
				place = 0
			}
		} else {
			churnSink = object
		}
	}
	return nil
}

func fillChurn(places int) [][]byte {
	ring := make([][]byte, places)
	random := gcRandom(1)
	template := churnTemplate()
	for place := range ring {
		ring[place] = copyBytes(template[:churnSize(&random)])
	}
	return ring
}

// verifyChurn looks at the whole ring.
func verifyChurn(ring [][]byte) error {
	for _, object := range ring {
		if err := checkChurn(object); err != nil {
			return err
		}
	}
	return nil
}

func copyBytes(contents []byte) []byte {
	object := make([]byte, len(contents))
	copy(object, contents)
	return object
}

func churnSize(random *gcRandom) int {
	r := random.next()
	least := 16 << ((r >> 32) % 5)
	return least + int(r)&(least-1) + 1
}

// churnTemplate is what every object is a copy of: eight bytes for its number, then bytes that tell their place.
func churnTemplate() *[longestChurn]byte {
	template := new([longestChurn]byte)
	for i := 8; i < len(template); i++ {
		template[i] = byte(i)
	}
	return template
}

func checkChurn(contents []byte) error {
	last := len(contents) - 1
	if contents[last] == byte(last) {
		return nil
	}
	return fmt.Errorf("the last byte of an object of %d bytes was overwritten", len(contents))
}
