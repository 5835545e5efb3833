package configuration

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/berth-iot/berth/device/internal/jsondoc"
)

// maxLine holds a sealed message in base64 and its name.
const maxLine = MaxMessage*4/3 + 256

// A line is a JSON object with one member for a message: its channel's name and the message, as JSON on
// the channels status and session, in base64 where it is sealed. Other lines, a boot log for example,
// are passed over.
func appendLine(dst []byte, c Channel, message []byte) []byte {
	v := jsondoc.Object()
	if m, err := jsondoc.Parse(message); err == nil && m.IsObject() {
		v.Set(c.String(), m)
	} else {
		v.Set(c.String(), binary64(message))
	}
	return append(v.Append(dst), '\n')
}

// decodeLine reads a line. Those with several members are of the plain form; see Console.
func decodeLine(v jsondoc.Value) (c Channel, message []byte, ok bool) {
	if len(v.Members()) != 1 {
		return 0, nil, false
	}
	m := v.Members()[0]
	for c := range Channel(Channels) {
		if c.String() != m.Key {
			continue
		}
		if m.Value.IsObject() {
			return c, m.Value.Append(nil), true
		}
		b, ok := bytes64(m.Value)
		return c, b, ok
	}
	return 0, nil, false
}

// Console serves the protocol as lines, over a serial line for example. Somebody with a terminal and no
// program types one line,
//
//	{"code": "1234-5678", "configuration": {"wifi": {…}, …}}
//
// and reads {"progress": {"state": …}} from then on. It is a Face.
type Console struct {
	// Open opens the line. Closing it ends a Read.
	Open func() (io.ReadWriteCloser, error)
}

// Up tries whether the line can be opened.
func (c *Console) Up(context.Context) error {
	line, err := c.Open()
	if err != nil {
		return fmt.Errorf("open console: %w", err)
	}
	return line.Close()
}

// Serve answers lines until the context or the line ends.
func (c *Console) Serve(ctx context.Context, s *Service) error {
	line, err := c.Open()
	if err != nil {
		return fmt.Errorf("open console: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { line.Close() })
	defer stop()
	defer line.Close()
	t := terminal{w: line}
	plain := make(chan struct{})
	var once sync.Once
	changed := make(chan struct{}, 1)
	cancel := s.Watch(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer cancel()
	over := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		t.follow(s, changed, plain, over)
	}()
	defer func() { close(over); <-told }()
	in := bufio.NewReaderSize(line, 4096)
	for {
		text, err := readLine(in)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("read console: %w", err)
		}
		v, err := jsondoc.Parse(text)
		if err != nil || !v.IsObject() {
			continue
		}
		if code := v.Get("code"); code.Exists() {
			wait, err := s.Plain(code.Text(), v.Get("configuration").Append(nil))
			if err != nil {
				t.write(append(refusal(err, wait).Append(nil), '\n'))
				continue
			}
			once.Do(func() { close(plain) })
			select {
			case changed <- struct{}{}:
			default:
			}
			continue
		}
		if channel, message, ok := decodeLine(v); ok {
			if answer := s.Handle(channel, message); answer != nil {
				t.write(appendLine(nil, channel, answer))
			}
		}
	}
}

// readLine reads one line, of which the rest is dropped when it is too long.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) <= maxLine {
			line = append(line, part...)
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			return nil, err
		}
		return bytes.TrimSpace(line), nil
	}
}

// terminal writes whole lines.
type terminal struct {
	mu sync.Mutex
	w  io.Writer
}

func (t *terminal) write(line []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = t.w.Write(line) // a line that is gone ends the reader, too
}

// follow writes what becomes of the configuration: sealed for the session, and in the open once a
// configuration has come that way.
func (t *terminal) follow(s *Service, changed, plain, over <-chan struct{}) {
	var last Progress
	for {
		select {
		case <-over:
			return
		case <-changed:
		}
		p := s.Progress()
		if p == last {
			continue
		}
		last = p
		if m := s.Message(Result); m != nil {
			t.write(appendLine(nil, Result, m))
		}
		select {
		case <-plain:
			v := jsondoc.Object()
			if m, err := jsondoc.Parse(p.append(nil)); err == nil {
				v.Set("progress", m)
			}
			t.write(append(v.Append(nil), '\n'))
		default:
		}
	}
}

// Lines is a Transport over a serial line.
type Lines struct {
	line  io.ReadWriteCloser
	inbox chan received
	over  chan struct{}
	ended chan struct{}
	err   error // why the line has ended; valid after ended
}

// NewLines returns a transport. Close ends it and the line.
func NewLines(line io.ReadWriteCloser) *Lines {
	t := &Lines{line: line, inbox: make(chan received, 16), over: make(chan struct{}), ended: make(chan struct{})}
	go t.read()
	return t
}

func (t *Lines) read() {
	defer close(t.ended)
	in := bufio.NewReader(t.line)
	for {
		text, err := readLine(in)
		if err != nil {
			t.err = err
			return
		}
		v, err := jsondoc.Parse(text)
		if err != nil || !v.IsObject() {
			continue
		}
		if c, message, ok := decodeLine(v); ok {
			select {
			case t.inbox <- received{c, message}:
			case <-t.over:
			}
		}
	}
}

// Send writes a line, after an end of line, which ends whatever somebody has typed.
func (t *Lines) Send(_ context.Context, c Channel, message []byte) error {
	_, err := t.line.Write(appendLine([]byte{'\n'}, c, message))
	return err
}

// Receive waits for a line with a message.
func (t *Lines) Receive(ctx context.Context) (Channel, []byte, error) {
	select {
	case r := <-t.inbox:
		return r.c, r.message, nil
	default:
	}
	select {
	case r := <-t.inbox:
		return r.c, r.message, nil
	case <-t.ended:
		return 0, nil, fmt.Errorf("the line has ended: %w", t.err)
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
}

// Close closes the line.
func (t *Lines) Close() error {
	close(t.over)
	err := t.line.Close()
	<-t.ended
	return err
}
