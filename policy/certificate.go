package policy

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/netip"
	"strconv"
	"strings"
)

const certificatePrefix = "iot:certificate."

// maxCertificateValues is how many values of one field AWS IoT keeps.
const maxCertificateValues = 5

// nameField is an attribute of a distinguished name that a policy can read.
type nameField struct {
	name string // as in iot:Certificate.Subject.NAME
	oid  [4]int // X.520
}

// The attributes of subject and issuer. (AWS IoT developer guide, "X.509
// Certificate AWS IoT Core policy variables".)
var nameFields = [...]nameField{
	{"DistinguishedNameQualifier", [4]int{2, 5, 4, 46}},
	{"Country", [4]int{2, 5, 4, 6}},
	{"Organization", [4]int{2, 5, 4, 10}},
	{"OrganizationalUnit", [4]int{2, 5, 4, 11}},
	{"State", [4]int{2, 5, 4, 8}},
	{"CommonName", [4]int{2, 5, 4, 3}},
	{"SerialNumber", [4]int{2, 5, 4, 5}},
	{"Title", [4]int{2, 5, 4, 12}},
	{"Surname", [4]int{2, 5, 4, 4}},
	{"GivenName", [4]int{2, 5, 4, 42}},
	{"Initials", [4]int{2, 5, 4, 43}},
	{"Pseudonym", [4]int{2, 5, 4, 65}},
	{"GenerationQualifier", [4]int{2, 5, 4, 44}},
}

// alternativeNames are the kinds of GeneralName with their context tags.
// (RFC 5280, section 4.2.1.6.)
var alternativeNames = [...]struct {
	name string
	tag  int
}{
	{"RFC822Name", 1},
	{"DNSName", 2},
	{"DirectoryName", 4},
	{"UniformResourceIdentifier", 6},
	{"IPAddress", 7},
}

const (
	oidSubjectAltName = "2.5.29.17"
	oidIssuerAltName  = "2.5.29.18"
)

// certificateValues returns the values of a canonical certificate key, with
// its index taken into account: none means the first value, ".1" the second,
// ".list" all of them.
func (c *Context) certificateValues(key string) ([]string, bool) {
	if c.Certificate == nil {
		return nil, false
	}
	base, index := splitIndex(key)
	vals := certificateField(c.Certificate, base)
	if base == "iot:certificate.availablekeys" {
		index = -1
	}
	switch {
	case len(vals) == 0 || index >= len(vals):
		return nil, false
	case index < 0:
		return vals, true
	default:
		return vals[index : index+1], true
	}
}

// splitIndex cuts ".N" or ".list" from a canonical certificate key. The index
// of ".list" is -1.
func splitIndex(key string) (base string, index int) {
	i := strings.LastIndexByte(key, '.')
	if i < 0 {
		return key, 0
	}
	last := key[i+1:]
	if last == "list" {
		return key[:i], -1
	}
	if n, err := strconv.ParseUint(last, 10, 16); err == nil {
		return key[:i], int(n)
	}
	return key, 0
}

// certificateField reads one field, at most five values of it.
func certificateField(cert *x509.Certificate, base string) []string {
	var vals []string
	switch field := strings.TrimPrefix(base, certificatePrefix); {
	case field == "serialnumber":
		// A decimal number, as AWS IoT shows it.
		if cert.SerialNumber != nil {
			vals = []string{cert.SerialNumber.String()}
		}
	case field == "availablekeys":
		return availableKeys(cert)
	case strings.HasPrefix(field, "subject.alternativename."):
		vals = alternativeField(cert, oidSubjectAltName, field[len("subject.alternativename."):])
	case strings.HasPrefix(field, "issuer.alternativename."):
		vals = alternativeField(cert, oidIssuerAltName, field[len("issuer.alternativename."):])
	case strings.HasPrefix(field, "subject."):
		vals = distinguishedField(cert.Subject, field[len("subject."):])
	case strings.HasPrefix(field, "issuer."):
		vals = distinguishedField(cert.Issuer, field[len("issuer."):])
	}
	return vals[:min(len(vals), maxCertificateValues)]
}

// availableKeys lists the variables that have values.
func availableKeys(cert *x509.Certificate) []string {
	var keys []string
	have := func(key string) {
		if len(certificateField(cert, strings.ToLower(key))) > 0 {
			keys = append(keys, key)
		}
	}
	for _, side := range [...]string{"iot:Certificate.Issuer.", "iot:Certificate.Subject."} {
		for _, f := range nameFields {
			have(side + f.name)
		}
		for _, a := range alternativeNames {
			have(side + "AlternativeName." + a.name)
		}
	}
	have("iot:Certificate.SerialNumber")
	return keys
}

func distinguishedField(name pkix.Name, field string) []string {
	var vals []string
	for _, f := range nameFields {
		if !strings.EqualFold(f.name, field) {
			continue
		}
		for _, attr := range name.Names {
			if v, ok := attr.Value.(string); ok && v != "" && attr.Type.Equal(f.oid[:]) {
				vals = append(vals, v)
			}
		}
	}
	return vals
}

func alternativeField(cert *x509.Certificate, oid, field string) []string {
	for _, a := range alternativeNames {
		if !strings.EqualFold(a.name, field) {
			continue
		}
		for _, ext := range cert.Extensions {
			if ext.Id.String() == oid {
				return generalNames(ext.Value, a.tag)
			}
		}
	}
	return nil
}

// generalNames reads the names of one kind from a GeneralNames value. What
// cannot be read is left out.
func generalNames(der []byte, tag int) []string {
	var seq asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &seq); err != nil || len(rest) > 0 || seq.Tag != asn1.TagSequence || !seq.IsCompound {
		return nil
	}
	var vals []string
	for rest := seq.Bytes; len(rest) > 0; {
		var v asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &v); err != nil {
			return vals
		}
		if v.Class != asn1.ClassContextSpecific || v.Tag != tag {
			continue
		}
		text := string(v.Bytes)
		switch tag {
		case 4:
			text = directoryName(v.Bytes)
		case 7:
			addr, ok := netip.AddrFromSlice(v.Bytes)
			if !ok {
				continue
			}
			text = addr.String()
		}
		if text != "" {
			vals = append(vals, text)
		}
	}
	return vals
}

// directoryName writes a name as AWS IoT shows it, the most specific part
// first and the types in lower case: cn=Lamp,ou=SmartHome,o=IoT,c=US.
func directoryName(der []byte) string {
	var rdns pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) > 0 {
		return ""
	}
	var b strings.Builder
	for i := len(rdns) - 1; i >= 0; i-- {
		for j, attr := range rdns[i] {
			switch {
			case j > 0:
				b.WriteByte('+')
			case b.Len() > 0:
				b.WriteByte(',')
			}
			v, ok := attr.Value.(string)
			if !ok {
				return ""
			}
			b.WriteString(shortName(attr.Type))
			b.WriteByte('=')
			b.WriteString(v)
		}
	}
	return b.String()
}

// shortName is the RFC 4514 name of an attribute type, in lower case, or its
// numbers.
func shortName(oid asn1.ObjectIdentifier) string {
	dotted := oid.String()
	switch dotted {
	case "2.5.4.3":
		return "cn"
	case "2.5.4.5":
		return "serialNumber"
	case "2.5.4.6":
		return "c"
	case "2.5.4.7":
		return "l"
	case "2.5.4.8":
		return "st"
	case "2.5.4.9":
		return "street"
	case "2.5.4.10":
		return "o"
	case "2.5.4.11":
		return "ou"
	case "0.9.2342.19200300.100.1.25":
		return "dc"
	case "0.9.2342.19200300.100.1.1":
		return "uid"
	}
	return dotted
}
