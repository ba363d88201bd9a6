package wire

import "encoding/binary"

// What a function wants of a connection: the message on its gateway's channel is
//
//	orders: 'F' (conn what ref id text number)*
//
// Like all messages there it may be lost; what must not be done twice the gateway knows by the id.
const msgOrders = 'F'

// What is ordered.
const (
	OrderReply       = 'r' // ID, Ref, Text: data as JSON, or ""
	OrderFail        = 'x' // ID, Ref, Text: a code
	OrderSubscribe   = 's' // Text: a target
	OrderUnsubscribe = 'u' // Text: a target
	OrderClose       = 'c' // Number: a close code; Text: the reason
	OrderGrant       = 'g' // Text: who a client is, JSON
)

// Order is for one connection, or for a request that waits.
type Order struct {
	Conn    string
	What    byte
	Ref, ID string // of the call
	Text    string
	Number  uint64
}

// AppendOrders adds a message to a gateway.
func AppendOrders(dst []byte, orders []Order) []byte {
	dst = append(dst, msgOrders)
	for i := range orders {
		o := &orders[i]
		dst = append(appendBytes(dst, o.Conn), o.What)
		dst = appendBytes(dst, o.Ref)
		dst = appendBytes(dst, o.ID)
		dst = appendBytes(dst, o.Text)
		dst = binary.AppendUvarint(dst, o.Number)
	}
	return dst
}

func (d *decoder) order() Order {
	o := Order{Conn: d.text(), What: d.byte(), Ref: d.text(), ID: d.text(), Text: d.text(), Number: d.uvarint()}
	switch o.What {
	case OrderReply, OrderFail, OrderSubscribe, OrderUnsubscribe, OrderClose, OrderGrant:
	default:
		d.bad = true
	}
	return o
}
