package action

import (
	"bytes"
	"context"
	"encoding/json"
	"path"
	"strings"
	"time"
	"unicode/utf8"
)

// File writes results into files of the server's folder for them, as lines of JSON or as Parquet. It is
// berth's own: AWS IoT has no such action. A path with templates such as
// ${topic(2)}/${parse_time("yyyy-MM-dd", timestamp())}.ndjson begins a new file every day.
type File struct {
	Path   string `json:"path,omitempty"`   // relative, with forward slashes
	Format string `json:"format,omitempty"` // ndjson or parquet; default by the end of Path
	// When a Parquet file is made of what was written: after seconds (default 3600) or bytes of JSON
	// (default 64 MiB). Its name is that of Path with the time before the last dot.
	RollSeconds int64 `json:"rollSeconds,omitempty"`
	RollBytes   int64 `json:"rollBytes,omitempty"`
}

// Limits and defaults of files.
const (
	maxFilePath    = 1024
	maxFileName    = 200 // bytes of an element of the path; a time is added to the last
	defaultRoll    = time.Hour
	maxRollSeconds = 7 * 24 * 3600
	defaultBytes   = 64 << 20
	minRollBytes   = 1 << 10
	maxRollBytes   = 1 << 30
)

// Validate implements Action.
func (f *File) Validate() error {
	if err := required("file", "path", f.Path); err != nil {
		return err
	}
	switch {
	case f.Format != "" && f.Format != "ndjson" && f.Format != "parquet":
		return refuse("file: format is %.40q, not ndjson or parquet", f.Format)
	case f.RollSeconds < 0 || f.RollSeconds > maxRollSeconds:
		return refuse("file: rollSeconds %d is not from 1 to %d", f.RollSeconds, maxRollSeconds)
	case f.RollBytes < 0 || f.RollBytes > maxRollBytes || f.RollBytes > 0 && f.RollBytes < minRollBytes:
		return refuse("file: rollBytes %d is not from %d to %d", f.RollBytes, minRollBytes, maxRollBytes)
	case !f.parquet() && (f.RollSeconds != 0 || f.RollBytes != 0):
		return refuse("file: rollSeconds and rollBytes are for parquet; other files roll by a template in path")
	case strings.Contains(f.Path, "${"):
		return nil
	}
	return checkFilePath(f.Path)
}

// checkFilePath refuses what is not plainly a file below a folder.
func checkFilePath(name string) error {
	if len(name) > maxFilePath || !utf8.ValidString(name) {
		return refuse("file: path %.80q is not UTF-8 of at most %d bytes", name, maxFilePath)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || len(part) > maxFileName || strings.ContainsFunc(part, func(r rune) bool { return r < ' ' || r == '\\' || r == ':' || r == 0x7f }) {
			return refuse("file: path %.80q: %.80q cannot be a name", name, part)
		}
	}
	return nil
}

func (f *File) parquet() bool {
	return f.Format == "parquet" || f.Format == "" && path.Ext(f.Path) == ".parquet"
}

// Destination implements Action: a disk that is full is so for all files.
func (f *File) Destination() string { return "files" }

// Batch implements Batcher.
func (f *File) Batch() string { return f.Format + ":" + f.Path }

// BatchLimits implements Batcher.
func (f *File) BatchLimits() (messages, bytes int, linger time.Duration) { return 1000, 4 << 20, 0 }

// Do implements Action.
func (f *File) Do(ctx context.Context, s *Services, m *Message) error {
	return f.DoBatch(ctx, s, []Delivery{{f, m}})[0]
}

// DoBatch implements Batcher. It returns when the lines are on disk; those of a Parquet file are until
// then in a file beside it.
func (f *File) DoBatch(_ context.Context, s *Services, list []Delivery) []error {
	errs := make([]error, len(list))
	all := func(err error) []error {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	if err := checkFilePath(f.Path); err != nil {
		return all(err)
	}
	if s.Connections == nil || s.Connections.folder == "" {
		return all(refuse("file: the server has no folder for files"))
	}
	var lines bytes.Buffer
	for i, d := range list {
		if d.Message.Binary {
			line, _ := json.Marshal(map[string][]byte{"payload": d.Message.Payload}) // base64
			lines.Write(line)
		} else if err := json.Compact(&lines, d.Message.Payload); err != nil {
			errs[i] = refuse("file: the result is not JSON: %w", err)
			continue
		}
		lines.WriteByte('\n')
	}
	if lines.Len() == 0 {
		return errs
	}
	kind := journalKind{name: f.Path}
	if f.parquet() {
		kind = journalKind{name: f.Path, parquet: true, age: defaultRoll, bytes: defaultBytes}
		if f.RollSeconds > 0 {
			kind.age = time.Duration(f.RollSeconds) * time.Second
		}
		if f.RollBytes > 0 {
			kind.bytes = f.RollBytes
		}
	}
	err := s.Connections.appendFile(kind, lines.Bytes())
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}
