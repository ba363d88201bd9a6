package wire

import "strconv"

// Partition is crc16_xmodem(target) mod partitions: producers that append to a
// partition's stream themselves compute the same.
func Partition(target string, partitions int) int {
	return int(crc16(target)) % partitions
}

// hashSlots is how many a Redis Cluster has.
const hashSlots = 16384

// Tags are the hash tags of the partitions, by their numbers: in the names of a
// partition's keys its tag stands in braces. The tag of partition p is the smallest
// decimal number whose hash slot lies in the p-th of the equal ranges into which the
// partitions divide all slots. The numbers of the partitions themselves would lie where
// chance puts them: of eight nodes four would have none of {0} to {15}.
func Tags(partitions int) []string {
	tags := make([]string, partitions)
	for n, found := 0, 0; found < partitions; n++ {
		tag := strconv.Itoa(n)
		if p := int(crc16(tag)) % hashSlots * partitions / hashSlots; tags[p] == "" {
			tags[p] = tag
			found++
		}
	}
	return tags
}

// crc16 is CRC-16/XMODEM (polynomial 0x1021, start 0), the one that Redis Cluster
// uses for hash slots.
func crc16(s string) (crc uint16) {
	for i := range len(s) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^s[i]]
	}
	return crc
}

var crcTable = func() (t [256]uint16) {
	for i := range t {
		c := uint16(i) << 8
		for range 8 {
			if c&0x8000 != 0 {
				c = c<<1 ^ 0x1021
			} else {
				c <<= 1
			}
		}
		t[i] = c
	}
	return t
}()
