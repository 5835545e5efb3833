package commands

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// DefaultTimeout is the time-out of an execution that asks for none.
const DefaultTimeout = 10 * time.Second

// keptMonths is how long an execution is kept (AWS IoT API reference, GetCommandExecution.timeToLive).
const keptMonths = 6

// maxActive is the number of executions of one target that are CREATED or IN_PROGRESS. AWS has a quota
// whose number it does not publish in its guide; this one is berth's own.
const maxActive = 100

// noResponse is the reason of a time-out that the service has found.
const noResponse = "$NO_RESPONSE_FROM_DEVICE"

// Execution is a command on one target.
type Execution struct {
	ID         string
	CommandID  string
	CommandARN string
	TargetARN  string
	State      State
	Reason     *Reason
	Result     map[string]Result
	Parameters map[string]Value
	Timeout    time.Duration
	Created    time.Time // also when it started
	Updated    time.Time
	Completed  time.Time // zero until the device has reported an end
	Expires    time.Time // when it is forgotten

	target string // things/T or clients/C
	due    time.Time
}

// Start is a request to run a command.
type Start struct {
	Command, Target string // ARNs
	Parameters      map[string]Value
	TimeoutSeconds  *int64 // default 10, at most 12 hours
	Token           string // makes the request idempotent; "" for not
}

var (
	thingPattern  = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)
	clientPattern = regexp.MustCompile(`^[a-zA-Z0-9:._-]{1,128}$`) // more than the guide promises
	tokenPattern  = regexp.MustCompile(`^[\x21-\x7E]{1,64}$`)
)

// target returns the part of the topics that stands for the ARN of a thing or client.
func (s *Service) target(arn string) (string, error) {
	resource, ok := strings.CutPrefix(arn, s.arn(""))
	kind, name, _ := strings.Cut(resource, "/")
	switch {
	case ok && kind == "thing" && thingPattern.MatchString(name):
		return "things/" + name, nil
	case ok && kind == "client" && clientPattern.MatchString(name):
		return "clients/" + name, nil
	}
	return "", invalid("targetArn %q is not the ARN of a thing or client of this account and region", arn)
}

// targetARN is the reverse of target.
func (s *Service) targetARN(target string) string {
	kind, name, _ := strings.Cut(target, "s/")
	return s.arn(kind + "/" + name)
}

func (s *Service) commandID(arn string) (string, error) {
	id, ok := strings.CutPrefix(arn, s.arn("command/"))
	if !ok || !idPattern.MatchString(id) {
		return "", invalid("commandArn %q is not the ARN of a command of this account and region", arn)
	}
	return id, nil
}

// StartCommandExecution sends a command to a target and returns the identifier of the execution. The
// request has reached subscribers or their queues when it returns. ErrNotFound for a command or thing
// that is not there; a client need not be connected. ErrInvalid, also for a deprecated command.
// ErrConflict for a token that has been used for another request. ErrQuota.
func (s *Service) StartCommandExecution(ctx context.Context, in Start) (string, error) {
	target, err := s.target(in.Target)
	if err != nil {
		return "", err
	}
	command, err := s.commandID(in.Command)
	if err != nil {
		return "", err
	}
	if in.Token != "" && !tokenPattern.MatchString(in.Token) {
		return "", invalid("clientToken is not 1 to 64 printable characters of ASCII without spaces")
	}
	timeout := DefaultTimeout
	if t := in.TimeoutSeconds; t != nil {
		if *t < 1 || *t > int64(MaxTimeout/time.Second) {
			return "", invalid("executionTimeoutSeconds is %d, not from 1 to %d", *t, int64(MaxTimeout/time.Second))
		}
		timeout = time.Duration(*t) * time.Second
	}
	if thing, ok := strings.CutPrefix(target, "things/"); ok {
		if _, err := s.cfg.Registry.DescribeThing(ctx, thing); errors.Is(err, registry.ErrNotFound) {
			return "", refuse(ErrNotFound, "thing %s cannot be found", thing)
		} else if err != nil {
			return "", err
		}
	}
	now := s.now()
	e := &Execution{ID: uuid.NewString(), CommandID: command, CommandARN: in.Command, TargetARN: in.Target, State: State{Status: Created}, Timeout: timeout,
		Created: now, Updated: now, Expires: now.AddDate(0, keptMonths, 0), target: target, due: now.Add(timeout)}
	parameters, err := json.Marshal(in.Parameters)
	if err != nil {
		return "", fmt.Errorf("encode parameters: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d\n%s", in.Command, in.Target, timeout, parameters))
	fingerprint := hex.EncodeToString(sum[:])

	var again string // an execution that the same request has started before
	var payload []byte
	var kind string
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		if again, err = started(tx, in.Token, fingerprint); err != nil || again != "" {
			return err
		}
		c, err := s.readCommand(tx, command)
		switch {
		case err != nil:
			return err
		case !c.Deletion.IsZero():
			return invalid("command %s is pending deletion", command)
		case !c.Deprecated.IsZero():
			return invalid("command %s is deprecated", command)
		}
		if payload, kind, e.Parameters, err = c.Payload(in.Parameters, int64(timeout/time.Second)); err != nil {
			return err
		}
		if len(payload) > maxMessage {
			return invalid("the payload has %d bytes with its parameters, at most %d are allowed", len(payload), maxMessage)
		}
		var active int
		if err := tx.QueryRow(`SELECT count(*) FROM command_execution WHERE target = ? AND due_at > ?`, []any{target, millis(now)}, &active); err != nil {
			return err
		}
		if active >= maxActive {
			return refuse(ErrQuota, "%s has %d active command executions", in.Target, active)
		}
		return e.insert(tx, in.Token, fingerprint)
	})
	if err != nil {
		return "", err
	}
	if again != "" {
		return again, nil
	}
	s.wake()
	s.publishEvent(e)
	return e.ID, s.send(ctx, e, payload, kind)
}

// started returns the execution that a request with this token has started, "" for none.
func started(tx *store.Tx, token, fingerprint string) (id string, err error) {
	if token == "" {
		return "", nil
	}
	var known string
	err = tx.QueryRow(`SELECT id, fingerprint FROM command_execution WHERE token = ? AND token <> ''`, []any{token}, &id, &known)
	switch {
	case errors.Is(err, store.ErrNoRows):
		return "", nil
	case err != nil:
		return "", err
	case known != fingerprint:
		return "", &Error{Kind: ErrConflict, Message: "clientToken has been used for another request", Resource: id}
	}
	return id, nil
}

const executionColumns = `id, command, target, status, final, reason, result, parameters, timeout_s, created_at, updated_at, completed_at, due_at, expires_at`

// encode is for values that cannot fail; "" for nothing.
func encode[T any](v map[string]T) string {
	if len(v) == 0 {
		return ""
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func (e *Execution) reason() string {
	if e.Reason == nil {
		return ""
	}
	b, _ := json.Marshal(e.Reason)
	return string(b)
}

func (e *Execution) insert(tx *store.Tx, token, fingerprint string) error {
	_, err := tx.Exec(`INSERT INTO command_execution (`+executionColumns+`, token, fingerprint) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.ID, e.CommandID, e.target, e.State.Status, e.State.Final, e.reason(), encode(e.Result), encode(e.Parameters), int64(e.Timeout/time.Second),
		millis(e.Created), millis(e.Updated), millis(e.Completed), millis(e.due), millis(e.Expires), token, fingerprint)
	return err
}

func (e *Execution) save(tx *store.Tx) error {
	_, err := tx.Exec(`UPDATE command_execution SET status = ?, final = ?, reason = ?, result = ?, updated_at = ?, completed_at = ?, due_at = ? WHERE id = ?`,
		e.State.Status, e.State.Final, e.reason(), encode(e.Result), millis(e.Updated), millis(e.Completed), millis(e.due), e.ID)
	return err
}

func (s *Service) scanExecution(row store.Row) (*Execution, error) {
	e := &Execution{}
	var reason, result, parameters string
	var timeout, created, updated, completed, due, expires int64
	if err := row.Scan(&e.ID, &e.CommandID, &e.target, &e.State.Status, &e.State.Final, &reason, &result, &parameters, &timeout,
		&created, &updated, &completed, &due, &expires); err != nil {
		return nil, err
	}
	e.CommandARN, e.TargetARN, e.Timeout = s.arn("command/"+e.CommandID), s.targetARN(e.target), time.Duration(timeout)*time.Second
	e.Created, e.Updated, e.Completed, e.due, e.Expires = instant(created), instant(updated), instant(completed), instant(due), instant(expires)
	decode := func(text string, v any) error {
		if text == "" {
			return nil
		}
		return json.Unmarshal([]byte(text), v)
	}
	return e, errors.Join(decode(reason, &e.Reason), decode(result, &e.Result), decode(parameters, &e.Parameters))
}

// readExecution returns an execution of a target, things/T or clients/C.
func (s *Service) readExecution(rd reader, id, target string) (*Execution, error) {
	if err := checkID("executionId", id); err != nil {
		return nil, err
	}
	e, err := s.scanExecution(rowFunc(func(dest ...any) error {
		return rd.QueryRow(`SELECT `+executionColumns+` FROM command_execution WHERE id = ? AND target = ?`, []any{id, target}, dest...)
	}))
	if errors.Is(err, store.ErrNoRows) {
		return nil, refuse(ErrNotFound, "command execution %s cannot be found", id)
	}
	return e, err
}

// GetCommandExecution returns an execution of a target, given by its ARN. ErrNotFound, ErrInvalid.
func (s *Service) GetCommandExecution(ctx context.Context, id, targetARN string) (*Execution, error) {
	target, err := s.target(targetARN)
	if err != nil {
		return nil, err
	}
	return s.readExecution(s.reader(ctx), id, target)
}

// DeleteCommandExecution forgets an execution that has ended. ErrConflict for one that has not, also
// one that the service has timed out; one that is not there is no error.
func (s *Service) DeleteCommandExecution(ctx context.Context, id, targetARN string) error {
	target, err := s.target(targetARN)
	if err != nil {
		return err
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		e, err := s.readExecution(tx, id, target)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if !e.State.Final {
			return &Error{Kind: ErrConflict, Message: fmt.Sprintf("command execution %s is %s", id, e.State.Status), Resource: id}
		}
		_, err = tx.Exec(`DELETE FROM command_execution WHERE id = ?`, id)
		return err
	})
}

// ExecutionFilter chooses executions: of a command or a target, never both.
type ExecutionFilter struct {
	Command, Target string // ARNs
	Status          Status // "" for all
	Started         *TimeFilter
	Completed       *TimeFilter // not together with Started; then in the order of completion
	Ascending       bool
}

// TimeFilter is a range of time without its ends; zero for open.
type TimeFilter struct{ After, Before time.Time }

// ListCommandExecutions lists executions, the newest first. ErrInvalid.
func (s *Service) ListCommandExecutions(ctx context.Context, f ExecutionFilter, page Page) ([]*Execution, string, error) {
	switch {
	case (f.Command == "") == (f.Target == ""):
		return nil, "", invalid("give one of commandArn and targetArn")
	case f.Started != nil && f.Completed != nil:
		return nil, "", invalid("give one of startedTimeFilter and completedTimeFilter")
	case f.Status != "" && !f.Status.Valid():
		return nil, "", invalid("there is no status %q", f.Status)
	}
	where, id, err := "command = ?", "", error(nil)
	if f.Command != "" {
		id, err = s.commandID(f.Command)
	} else {
		where = "target = ?"
		id, err = s.target(f.Target)
	}
	if err != nil {
		return nil, "", err
	}
	args := []any{id}
	by, span := "created_at", f.Started
	if f.Completed != nil {
		by, span, where = "completed_at", f.Completed, where+" AND completed_at > 0"
	}
	if f.Status != "" {
		where, args = where+" AND status = ?", append(args, f.Status)
	}
	if span != nil && !span.After.IsZero() {
		where, args = where+" AND "+by+" > ?", append(args, millis(span.After))
	}
	if span != nil && !span.Before.IsZero() {
		where, args = where+" AND "+by+" < ?", append(args, millis(span.Before))
	}
	from, limit, err := page.after(f.Ascending)
	if err != nil {
		return nil, "", err
	}
	compare, order := "<", "DESC"
	if f.Ascending {
		compare, order = ">", "ASC"
	}
	where += " AND (" + by + " " + compare + " ? OR " + by + " = ? AND id " + compare + " ?)"
	var list []*Execution
	err = s.reader(ctx).Query(`SELECT `+executionColumns+` FROM command_execution WHERE `+where+` ORDER BY `+by+` `+order+`, id `+order+` LIMIT ?`,
		append(args, from.at, from.at, from.id, limit+1), func(row store.Row) error {
			e, err := s.scanExecution(row)
			list = append(list, e)
			return err
		})
	if err != nil || len(list) <= limit {
		return list, "", err
	}
	list = list[:limit]
	last := place{millis(list[limit-1].Created), list[limit-1].ID}
	if f.Completed != nil {
		last.at = millis(list[limit-1].Completed)
	}
	return list, last.token(), nil
}
