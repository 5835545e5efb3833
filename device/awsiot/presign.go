package awsiot

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Credentials are an access key, a temporary one for example, as the credentials provider of AWS IoT
// and berth hands out.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string    // "" for a permanent access key
	Expires         time.Time // zero is never
}

// PresignWebSocket returns the URL wss://host/mqtt that carries a signature of version 4, for MQTT over
// WebSocket by a device that has no certificate (AWS IoT developer guide, "Device communication
// protocols", "MQTT over WebSocket protocol"; AWS General Reference, "Signature Version 4"). host may
// have a port. The signature is good for five minutes around at, by the server's clock: make another
// for every connection. The session token is added after signing, as device SDKs do.
func PresignWebSocket(host, region string, c Credentials, at time.Time) string {
	const service = "iotdevicegateway"
	stamp := at.UTC().Format("20060102T150405Z")
	scope := stamp[:8] + "/" + region + "/" + service + "/aws4_request"
	query := "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + escape(c.AccessKeyID+"/"+scope) +
		"&X-Amz-Date=" + stamp + "&X-Amz-SignedHeaders=host"
	nothing := sha256.Sum256(nil)
	request := sha256.Sum256([]byte("GET\n/mqtt\n" + query + "\nhost:" + host + "\n\nhost\n" + hex.EncodeToString(nothing[:])))
	key := []byte("AWS4" + c.SecretAccessKey)
	for _, part := range []string{stamp[:8], region, service, "aws4_request",
		"AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(request[:])} {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	url := "wss://" + host + "/mqtt?" + query + "&X-Amz-Signature=" + hex.EncodeToString(key)
	if c.SessionToken != "" {
		url += "&X-Amz-Security-Token=" + escape(c.SessionToken)
	}
	return url
}

// escape escapes everything but the unreserved characters of RFC 3986.
func escape(s string) string {
	const hexDigits = "0123456789ABCDEF"
	var out []byte
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~' {
			out = append(out, c)
			continue
		}
		out = append(out, '%', hexDigits[c>>4], hexDigits[c&15])
	}
	return string(out)
}
