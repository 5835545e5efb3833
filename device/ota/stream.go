package ota

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/berth-iot/berth/device/internal/jsondoc"
	"github.com/berth-iot/berth/device/link"
)

// Stream is a Fetcher over MQTT (AWS IoT developer guide, "MQTT-based file delivery"): it asks for a
// few blocks at a time, in JSON, and again for those that did not come.
type Stream struct {
	Link      *link.Link
	Thing     string
	BlockSize int           // 256 to 131072; 0 means 4096
	Blocks    int           // in one request; 0 means 8
	Timeout   time.Duration // without a block; 0 means 10 s
}

type block struct {
	index   int64
	content []byte
	err     error
}

// Fetch loads what follows the block that offset lies in.
func (s *Stream) Fetch(ctx context.Context, img Image, offset int64, write func([]byte) error) error {
	size, count, patience := int64(s.BlockSize), int64(s.Blocks), s.Timeout
	if size <= 0 {
		size = 4096
	}
	if count <= 0 {
		count = 8
	}
	if patience <= 0 {
		patience = 10 * time.Second
	}
	prefix := "$aws/things/" + s.Thing + "/streams/" + img.Stream + "/"
	arrived := make(chan block, 2*count)
	take := func(m link.Message) {
		select {
		case arrived <- readBlock(m.Payload, img.FileID):
		default: // it is asked for again
		}
	}
	refuse := func(m link.Message) {
		v, _ := jsondoc.Parse(m.Payload)
		code, message := v.Get("o").Text(), v.Get("m").Text()
		if code == "" {
			code, message = v.Get("code").Text(), v.Get("message").Text()
		}
		select {
		case arrived <- block{err: &FinalError{fmt.Errorf("stream %q: rejected: %s %s", img.Stream, code, message)}}:
		default:
		}
	}
	granted := make(chan error, 2)
	for topic, handle := range map[string]func(link.Message){prefix + "data/json": take, prefix + "rejected/json": refuse} {
		s.Link.Route(topic, handle)
		if err := s.Link.Subscribe(topic, 0, func(err error) { granted <- err }); err != nil {
			return err
		}
		defer s.Link.Unsubscribe(topic, nil)
	}
	for range 2 {
		select {
		case err := <-granted:
			if err != nil {
				return &FinalError{err}
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(patience):
			return errors.New("the subscriptions to the stream are not answered")
		}
	}
	first, skip := offset/size, offset%size
	last := (img.Size - 1) / size
	for first <= last {
		want := min(count, last-first+1)
		body := jsondoc.Object()
		for _, f := range []struct {
			key string
			n   int64
		}{{"f", img.FileID}, {"l", size}, {"o", first}, {"n", want}} {
			body.Set(f.key, jsondoc.Int(f.n))
		}
		failed := make(chan error, 1)
		err := s.Link.Publish(link.Publication{Topic: prefix + "get/json", Payload: body.Append(nil), Urgent: true}, func(err error) {
			if err != nil {
				failed <- err
			}
		})
		if err != nil {
			return err
		}
		blocks := make(map[int64][]byte)
		timer := time.NewTimer(patience)
		for waiting := true; waiting && int64(len(blocks)) < want; {
			select {
			case b := <-arrived:
				if b.err != nil {
					timer.Stop()
					return b.err
				}
				if b.index >= first && b.index < first+want {
					blocks[b.index] = b.content
				}
				timer.Reset(patience)
			case <-timer.C:
				waiting = false
			case err := <-failed:
				timer.Stop()
				return err
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			}
		}
		timer.Stop()
		if len(blocks) == 0 {
			return fmt.Errorf("stream %q: no block in %v", img.Stream, patience)
		}
		for content, ok := blocks[first]; ok; content, ok = blocks[first] {
			if wanted := min(size, img.Size-first*size); int64(len(content)) != wanted {
				return &FinalError{fmt.Errorf("stream %q: block %s has %d bytes, want %d", img.Stream, strconv.FormatInt(first, 10), len(content), wanted)}
			}
			if err := write(content[skip:]); err != nil {
				return err
			}
			skip = 0
			first++
		}
	}
	return nil
}

// readBlock reads an answer of a stream.
func readBlock(payload []byte, file int64) block {
	v, err := jsondoc.Parse(payload)
	f, ok1 := v.Get("f").Int()
	i, ok2 := v.Get("i").Int()
	content, err2 := base64.StdEncoding.DecodeString(v.Get("p").Text())
	if err != nil || err2 != nil || !ok1 || !ok2 || f != file || len(content) == 0 {
		return block{index: -1}
	}
	return block{index: i, content: content}
}
