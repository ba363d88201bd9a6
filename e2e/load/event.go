package main

import "bytes"

// The data of every event here is {"p":"<padding>","n":"<number>","t":"<sent>"}: the number counts the events of a
// target from 1, and sent is the clock just before the event's write, in ns since 1970. Both have a fixed width and
// stand at the end of the frame, where a receiver finds them without a look at what is before.
const (
	numberDigits = 8
	timeDigits   = 19
	dataHead     = `{"p":"`
	dataNumber   = `","n":"`
	dataTime     = `","t":"`
	dataEnd      = `"}`
	minData      = len(dataHead) + len(dataNumber) + numberDigits + len(dataTime) + timeDigits + len(dataEnd)

	// From the end of an event frame's payload, which closes one object more.
	timeFromEnd   = timeDigits + len(dataEnd) + 1
	markFromEnd   = timeFromEnd + len(dataTime)
	numberFromEnd = markFromEnd + numberDigits
)

// appendData adds an event's data, size bytes long but at least minData.
func appendData(dst []byte, size int, number uint32, sent int64) []byte {
	dst = append(dst, dataHead...)
	for range size - minData {
		dst = append(dst, 'x')
	}
	dst = append(dst, dataNumber...)
	dst = appendDigits(dst, uint64(number), numberDigits)
	dst = append(dst, dataTime...)
	dst = appendDigits(dst, uint64(sent), timeDigits)
	return append(dst, dataEnd...)
}

// parseData reads number and time of an event frame's payload. ok is false for an event of somebody else.
func parseData(payload []byte) (number uint32, sent int64, ok bool) {
	end := len(payload)
	if end < numberFromEnd || string(payload[end-markFromEnd:end-timeFromEnd]) != dataTime {
		return 0, 0, false
	}
	number = uint32(digits(payload[end-numberFromEnd : end-markFromEnd]))
	return number, int64(digits(payload[end-timeFromEnd : end-timeFromEnd+timeDigits])), true
}

func appendDigits(dst []byte, v uint64, width int) []byte {
	at := len(dst)
	for range width {
		dst = append(dst, '0')
	}
	for i := at + width - 1; i >= at; i-- {
		dst[i] = '0' + byte(v%10)
		v /= 10
	}
	return dst
}

func digits(b []byte) (v uint64) {
	for _, c := range b {
		v = 10*v + uint64(c-'0')
	}
	return v
}

// appendEventFrame adds the frame that a gateway sends for an event: the floor writes the same bytes.
func appendEventFrame(dst []byte, to string, size int, number uint32, sent int64) []byte {
	p := append([]byte(`{"type":"event","to":"`), to...)
	p = append(p, `","id":"1700000000000-12","prev":"1700000000000-11","event":"message","data":`...)
	p = appendData(p, size, number, sent)
	return appendServerText(dst, append(p, '}'))
}

// textField is the value of a field of one of Sluice's frames that holds neither quotes nor escapes, such as an id.
func textField(payload []byte, name string) string {
	_, rest, ok := bytes.Cut(payload, []byte(`"`+name+`":"`))
	if !ok {
		return ""
	}
	value, _, _ := bytes.Cut(rest, []byte{'"'})
	return string(value)
}
