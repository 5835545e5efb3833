package action

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Influx writes a point by line protocol (InfluxDB documentation, "Line protocol"): to version 2 and 3
// with a bucket, to version 1 with a database. It is berth's own: AWS IoT has no such action.
type Influx struct {
	URL    string `json:"url,omitempty"` // http://host:8086
	Org    string `json:"org,omitempty"`
	Bucket string `json:"bucket,omitempty"`
	Token  string `json:"token,omitempty"`

	Database        string `json:"database,omitempty"`
	RetentionPolicy string `json:"retentionPolicy,omitempty"`
	Username        string `json:"username,omitempty"`
	Password        string `json:"password,omitempty"`

	Measurement string            `json:"measurement,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"` // empty ones are left out
	// Fields are values as line protocol writes them: numbers, 5i and 5u, true, "text"; what is none of
	// these is text. Without any, the members of the result are fields.
	Fields    map[string]string `json:"fields,omitempty"`
	Timestamp string            `json:"timestamp,omitempty"` // a whole number; default: the time of the message
	Precision string            `json:"precision,omitempty"` // of Timestamp: ns, us, ms (default) or s
}

var influxPrecision = map[string]time.Duration{"ns": time.Nanosecond, "us": time.Microsecond, "ms": time.Millisecond, "": time.Millisecond, "s": time.Second}

const influxTimeout = 15 * time.Second

// Validate implements Action.
func (f *Influx) Validate() error {
	if err := required("influx", "url", f.URL, "measurement", f.Measurement); err != nil {
		return err
	}
	switch {
	case (f.Bucket == "") == (f.Database == ""):
		return refuse("influx: give one of bucket (version 2) and database (version 1)")
	case f.Bucket != "" && (f.Username != "" || f.Password != "" || f.RetentionPolicy != ""):
		return refuse("influx: username, password and retentionPolicy go with database")
	case f.Database != "" && f.Org != "":
		return refuse("influx: org goes with bucket")
	}
	if _, ok := influxPrecision[f.Precision]; !ok {
		return refuse("influx: precision is %.40q, not ns, us, ms or s", f.Precision)
	}
	for name := range f.Fields {
		if name == "" {
			return refuse("influx: a field has no name")
		}
	}
	for name := range f.Tags {
		if name == "" {
			return refuse("influx: a tag has no name")
		}
	}
	if strings.Contains(f.URL, "${") {
		return nil
	}
	return CheckURL(f.URL)
}

// Destination implements Action.
func (f *Influx) Destination() string {
	if u, err := url.Parse(f.URL); err == nil {
		return u.Scheme + "://" + u.Host
	}
	return ""
}

// Batch implements Batcher: what goes to one database with one login.
func (f *Influx) Batch() string {
	b, _ := json.Marshal([]string{f.URL, f.Org, f.Bucket, f.Token, f.Database, f.RetentionPolicy, f.Username, f.Password})
	return string(b)
}

// BatchLimits implements Batcher.
func (f *Influx) BatchLimits() (messages, bytes int, linger time.Duration) { return 1000, 4 << 20, 0 }

// Do implements Action.
func (f *Influx) Do(ctx context.Context, s *Services, m *Message) error {
	return f.DoBatch(ctx, s, []Delivery{{f, m}})[0]
}

// DoBatch implements Batcher.
func (f *Influx) DoBatch(ctx context.Context, s *Services, list []Delivery) []error {
	errs := make([]error, len(list))
	var body []byte
	for i, d := range list {
		line, err := d.Action.(*Influx).appendLine(body, d.Message)
		if err != nil {
			errs[i] = err
			continue
		}
		body = line
	}
	if len(body) == 0 {
		return errs
	}
	err := f.post(ctx, s.HTTP, body)
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

func (f *Influx) post(ctx context.Context, client *http.Client, body []byte) error {
	if err := CheckURL(f.URL); err != nil {
		return err
	}
	path, v := "/api/v2/write", url.Values{"precision": {"ns"}}
	if f.Bucket != "" {
		v.Set("bucket", f.Bucket)
		if f.Org != "" {
			v.Set("org", f.Org)
		}
	} else {
		path = "/write"
		v.Set("db", f.Database)
		if f.RetentionPolicy != "" {
			v.Set("rp", f.RetentionPolicy)
		}
	}
	header := http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	switch {
	case f.Token != "":
		header.Set("Authorization", "Token "+f.Token)
	case f.Username != "":
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(f.Username+":"+f.Password)))
	}
	_, err := call(ctx, client, "influx", http.MethodPost, strings.TrimSuffix(f.URL, "/")+path+"?"+v.Encode(), header, body, influxTimeout, 4<<10)
	return err
}

// call makes an HTTP request and returns the answer's body, of at most limit bytes. Answers of 4xx but
// for 408 and 429 are permanent failures.
func call(ctx context.Context, client *http.Client, kind, method, to string, header http.Header, body []byte, timeout time.Duration, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
	if err != nil {
		return nil, refuse("%s: the URL cannot be used", kind)
	}
	req.Header = header
	resp, err := client.Do(req)
	if err != nil {
		if u, ok := err.(*url.Error); ok {
			err = u.Err // the URL may hold a password
		}
		return nil, fmt.Errorf("%s: request to %s: %w", kind, req.URL.Host, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if err != nil && resp.StatusCode < 300 {
		return nil, fmt.Errorf("%s: answer of %s: %w", kind, req.URL.Host, err)
	}
	if resp.StatusCode < 300 {
		return answer, nil
	}
	err = fmt.Errorf("%s: %s answered %s: %.300s", kind, req.URL.Host, resp.Status, bytes.TrimSpace(answer))
	switch {
	case resp.StatusCode == http.StatusRequestTimeout, resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode >= 500:
		return nil, err
	}
	return nil, Permanent(err)
}

// Escapes of line protocol: of measurements, and of tags and names of fields. Neither takes a line break.
var (
	measurementEscaper = strings.NewReplacer(",", `\,`, " ", `\ `)
	tagEscaper         = strings.NewReplacer(",", `\,`, " ", `\ `, "=", `\=`)
	stringEscaper      = strings.NewReplacer(`"`, `\"`, `\`, `\\`)
)

// appendName appends a measurement, a tag or a name of a field. A backslash at the end would escape what
// follows.
func appendName(dst []byte, escaper *strings.Replacer, what, text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n\x00") || strings.HasSuffix(text, `\`) {
		return nil, refuse("influx: %s %.80q cannot be written: it has a line break or ends with a backslash", what, text)
	}
	return append(dst, escaper.Replace(text)...), nil
}

// appendLine appends the point of a message and a line feed, or returns an error and leaves dst.
func (f *Influx) appendLine(dst []byte, m *Message) ([]byte, error) {
	if f.Measurement == "" || strings.HasPrefix(f.Measurement, "#") {
		return nil, refuse("influx: measurement %.80q is empty or would be a comment", f.Measurement)
	}
	out, err := appendName(dst, measurementEscaper, "measurement", f.Measurement)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(f.Tags)) {
		if f.Tags[name] == "" {
			continue
		}
		if out, err = appendName(append(out, ','), tagEscaper, "tag", name); err != nil {
			return nil, err
		}
		if out, err = appendName(append(out, '='), tagEscaper, "tag", f.Tags[name]); err != nil {
			return nil, err
		}
	}
	fields, err := f.fields(m)
	if err != nil {
		return nil, err
	}
	separator := byte(' ')
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if out, err = appendName(append(out, separator), tagEscaper, "field", name); err != nil {
			return nil, err
		}
		out = append(append(out, '='), fields[name]...)
		separator = ','
	}
	if separator == ' ' {
		return nil, refuse("influx: the point has no fields")
	}
	at := m.Time
	if at.IsZero() {
		at = time.Now()
	}
	ns := at.UnixNano()
	if f.Timestamp != "" {
		n, err := strconv.ParseInt(f.Timestamp, 10, 64)
		unit := int64(influxPrecision[f.Precision])
		if err != nil || unit == 0 || n > math.MaxInt64/unit || n < math.MinInt64/unit {
			return nil, refuse("influx: timestamp %.40q is not a whole number of %s", f.Timestamp, f.Precision)
		}
		ns = n * unit
	}
	return append(strconv.AppendInt(append(out, ' '), ns, 10), '\n'), nil
}

// fields are the values of a point as line protocol writes them.
func (f *Influx) fields(m *Message) (map[string]string, error) {
	fields := make(map[string]string)
	if len(f.Fields) > 0 {
		for name, text := range f.Fields {
			if text != "" {
				fields[name] = fieldOfText(text)
			}
		}
		return fields, nil
	}
	members := make(map[string]json.RawMessage)
	if m.Binary || !bytes.HasPrefix(bytes.TrimSpace(m.Payload), []byte("{")) || json.Unmarshal(m.Payload, &members) != nil {
		return nil, refuse("influx: the result is not a JSON object; name fields")
	}
	for name, raw := range members {
		switch text := string(raw); {
		case name == "":
			return nil, refuse("influx: a member of the result has no name")
		case text[0] == 'n':
		case text[0] == 't', text[0] == 'f':
			fields[name] = text
		case text[0] == '"':
			var s string
			if err := json.Unmarshal(raw, &s); err != nil {
				return nil, refuse("influx: %w", err)
			}
			fields[name] = quoteField(s)
		case text[0] == '{', text[0] == '[':
			fields[name] = quoteField(text)
		default:
			if _, err := strconv.ParseFloat(text, 64); err != nil {
				return nil, refuse("influx: %.40s is too large a number", text)
			}
			fields[name] = text
		}
	}
	return fields, nil
}

func quoteField(text string) string { return `"` + stringEscaper.Replace(text) + `"` }

func fieldOfText(text string) string {
	n := len(text) - 1
	if v, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) && json.Valid([]byte(text)) {
		return text
	}
	if _, err := strconv.ParseInt(text[:n], 10, 64); err == nil && text[n] == 'i' {
		return text
	}
	if _, err := strconv.ParseUint(text[:n], 10, 64); err == nil && text[n] == 'u' {
		return text
	}
	if text == "true" || text == "false" {
		return text
	}
	if n > 0 && text[0] == '"' && text[n] == '"' {
		text = text[1:n]
	}
	return quoteField(text)
}
