package configuration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/berth-iot/berth/device/internal/jsondoc"
	"github.com/berth-iot/berth/device/spake2plus"
)

// Transport carries messages to a device and back.
type Transport interface {
	// Send sends a message; the answer, if there is one, comes from Receive.
	Send(ctx context.Context, c Channel, message []byte) error
	// Receive waits for a message.
	Receive(ctx context.Context) (Channel, []byte, error)
}

// RefusedError is what a device answers instead of going on.
type RefusedError struct {
	Reason string
	Wait   time.Duration // until it takes another attempt; 0 if it did not say
}

func (e *RefusedError) Error() string {
	if e.Wait > 0 {
		return fmt.Sprintf("the device refuses: %s; it takes the next attempt in %v", e.Reason, e.Wait)
	}
	return "the device refuses: " + e.Reason
}

// Is makes the two refusals of a code known by their errors.
func (e *RefusedError) Is(target error) bool {
	return (target == ErrCode || target == ErrWait || target == ErrClosed) && e.Reason == target.Error()
}

// Inform asks a device what it is.
func Inform(ctx context.Context, t Transport) (Information, error) {
	c := client{t: t}
	if err := c.t.Send(ctx, Status, []byte("{}")); err != nil {
		return Information{}, fmt.Errorf("ask the device: %w", err)
	}
	for {
		b, err := c.receive(ctx, Status)
		if err != nil {
			return Information{}, fmt.Errorf("ask the device: %w", err)
		}
		if info, ok := ParseInformation(b); ok {
			if info.Protocol != ProtocolVersion {
				return info, fmt.Errorf("the device speaks version %d of the protocol, not %d", info.Protocol, ProtocolVersion)
			}
			return info, nil
		}
	}
}

// Configure proves a code to a device, sends it a configuration and follows it until it is connected
// or has failed, or the context ends. tell, if not nil, hears of every change. The error is an
// *RefusedError, or wraps ErrCode if the device does not know the code either, or the context's.
func Configure(ctx context.Context, t Transport, code string, d Document, tell func(Progress)) (last Progress, err error) {
	if tell == nil {
		tell = func(Progress) {}
	}
	if err := d.Check(); err != nil {
		return last, err
	}
	document := d.Append(nil)
	if len(document)+sealOverhead > MaxMessage {
		return last, fmt.Errorf("%w: it has %d bytes of JSON, at most %d are possible", ErrDocument, len(document), MaxMessage-sealOverhead)
	}
	info, err := Inform(ctx, t)
	if err != nil {
		return last, err
	}
	c := client{t: t}
	if err := c.prove(ctx, normal(code), info); err != nil {
		return last, err
	}
	tell(Progress{State: Authenticated})
	if err := c.send(ctx, document); err != nil {
		return last, err
	}
	last = Progress{State: Received}
	tell(last)
	for !last.State.Final() {
		b, err := c.receive(ctx, Result)
		if err != nil {
			if last.Reason != "" {
				err = fmt.Errorf("%w; it was %v: %s", err, last.State, last.Reason)
			}
			return last, fmt.Errorf("follow the device: %w", err)
		}
		plain, err := c.seal.open(Result, b)
		if err != nil {
			continue // of somebody else's session, or old
		}
		// What was said before the configuration came is of no interest.
		if p, ok := decodeProgress(plain); ok && p != last && p.State > Authenticated {
			last = p
			tell(p)
		}
	}
	if last.State == Failed {
		return last, &RefusedError{Reason: last.Reason}
	}
	return last, nil
}

// client is one conversation with a device.
type client struct {
	t     Transport
	seal  *seal
	inbox [Channels][]byte // the newest message of each channel that nobody has asked for
}

// receive waits for a message of one channel.
func (c *client) receive(ctx context.Context, wanted Channel) ([]byte, error) {
	for {
		if b := c.inbox[wanted]; b != nil {
			c.inbox[wanted] = nil
			return b, nil
		}
		channel, b, err := c.t.Receive(ctx)
		if err != nil {
			return nil, err
		}
		c.inbox[channel%Channels] = b
	}
}

// ask sends a message of the session channel and returns the answer to it. Others are of somebody who
// was connected before: a device goes on with what was on its way.
func (c *client) ask(ctx context.Context, v jsondoc.Value) (jsondoc.Value, error) {
	id := int64(rand.Uint32())
	v.Set("id", jsondoc.Int(id))
	if err := c.t.Send(ctx, Session, v.Append(nil)); err != nil {
		return jsondoc.Value{}, err
	}
	for {
		b, err := c.receive(ctx, Session)
		if err != nil {
			return jsondoc.Value{}, err
		}
		answer, err := jsondoc.Parse(b)
		if err != nil || !answer.IsObject() {
			return jsondoc.Value{}, errors.New("the device's answer cannot be read")
		}
		if answered, _ := answer.Get("id").Int(); answered == id {
			return answer, refusedBy(answer)
		}
	}
}

func refusedBy(v jsondoc.Value) error {
	reason := v.Get("error")
	if !reason.Exists() {
		return nil
	}
	wait, _ := v.Get("wait").Int()
	return &RefusedError{Reason: reason.Text(), Wait: time.Duration(min(max(wait, 0), 1<<20)) * time.Second}
}

func (c *client) prove(ctx context.Context, code string, info Information) error {
	prover, err := spake2plus.NewProver(exchange, code, info.Salt, info.Iterations)
	if err != nil {
		return err
	}
	share := jsondoc.Object()
	share.Set("share", binary64(prover.Share()))
	answer, err := c.ask(ctx, share)
	if err != nil {
		return fmt.Errorf("prove the code: %w", err)
	}
	theirs, _ := bytes64(answer.Get("share"))
	confirm, _ := bytes64(answer.Get("confirm"))
	id, ok := answer.Get("session").Int()
	if !ok || id < 0 || id >= 1<<32 {
		return errors.New("prove the code: the device's answer cannot be read")
	}
	own, key, err := prover.Finish(theirs, confirm)
	if errors.Is(err, spake2plus.ErrCode) {
		return fmt.Errorf("prove the code: %w", ErrCode)
	}
	if err != nil {
		return fmt.Errorf("prove the code: %w", err)
	}
	v := jsondoc.Object()
	v.Set("session", jsondoc.Int(id))
	v.Set("confirm", binary64(own))
	if _, err := c.ask(ctx, v); err != nil {
		return fmt.Errorf("prove the code: %w", err)
	}
	c.seal, err = newSeal(key, uint32(id), false)
	return err
}

// send sends the configuration and waits until the device has it in flash.
func (c *client) send(ctx context.Context, document []byte) error {
	if err := c.t.Send(ctx, Configuration, c.seal.close(Configuration, document)); err != nil {
		return fmt.Errorf("send the configuration: %w", err)
	}
	for {
		b, err := c.receive(ctx, Configuration)
		if err != nil {
			return fmt.Errorf("send the configuration: %w", err)
		}
		plain, sealed := c.seal.open(Configuration, b)
		if sealed != nil {
			plain = b // a refusal that could not be sealed
		}
		v, err := jsondoc.Parse(plain)
		if err != nil || !v.IsObject() {
			continue
		}
		if err := refusedBy(v); err != nil {
			return fmt.Errorf("send the configuration: %w", err)
		}
		if sealed == nil {
			return nil
		}
	}
}
