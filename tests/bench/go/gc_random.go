// The random numbers of the collector's workloads: the same in each language, so that each contestant does the same work.

package main

// gcRandom is xorshift with a multiplied output (xorshift64*).
type gcRandom uint64

func (r *gcRandom) next() uint64 {
	x := uint64(*r)
	x ^= x >> 12
	x ^= x << 25
	x ^= x >> 27
	*r = gcRandom(x)
	return x * 0x2545F4914F6CDD1D
}

// below returns a number below n, which fits 32 bits.
func (r *gcRandom) below(n int) int {
	return int(((r.next() >> 32) * uint64(n)) >> 32)
}
