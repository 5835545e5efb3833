package broker

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"reflect"
	"unsafe"
)

// A tls.Conn keeps, for as long as it lives, the buffers in which the handshake's messages came, the
// parsed certificates of the client and secrets that only a later export or renegotiation would need:
// 6 KiB of the 9 that it takes. A server with a hundred thousand devices wants them back, and crypto/tls
// has no call for it.
var (
	rawInputAt         = fieldOf[bytes.Buffer]("rawInput")
	handAt             = fieldOf[bytes.Buffer]("hand")
	peerCertificatesAt = fieldOf[[]*x509.Certificate]("peerCertificates")
	verifiedChainsAt   = fieldOf[[][]*x509.Certificate]("verifiedChains")
	resumptionSecretAt = fieldOf[[]byte]("resumptionSecret")
	exporterAt         = fieldOf[func(label string, context []byte, length int) ([]byte, error)]("ekm")
)

// field is the place of a field of tls.Conn, or below 0 if this version of Go has none of that name and
// type: it is then left alone.
type field[T any] int

func fieldOf[T any](name string) field[T] {
	f, ok := reflect.TypeFor[tls.Conn]().FieldByName(name)
	if !ok || f.Type != reflect.TypeFor[T]() {
		return -1
	}
	return field[T](f.Offset)
}

func (f field[T]) of(c *tls.Conn) *T {
	if f < 0 {
		return nil
	}
	return (*T)(unsafe.Add(unsafe.Pointer(c), int(f)))
}

// drop sets a field to its zero value.
func (f field[T]) drop(c *tls.Conn) {
	if p := f.of(c); p != nil {
		var zero T
		*p = zero
	}
}

// trim gives back what a connection does not need while it waits. Nobody may be reading from it, and its
// handshake must be over: what ConnectionState says of the client's certificate is gone afterwards.
func trim(c *tls.Conn) {
	for _, f := range []field[bytes.Buffer]{rawInputAt, handAt} {
		if b := f.of(c); b != nil && b.Len() == 0 {
			*b = bytes.Buffer{}
		}
	}
	peerCertificatesAt.drop(c)
	verifiedChainsAt.drop(c)
	resumptionSecretAt.drop(c)
	exporterAt.drop(c)
}
