package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/berth-iot/berth/internal/store"
)

// Namespace is the one namespace of commands that there is here.
const Namespace = "AWS-IoT"

// MaxPayload is the largest payload and the longest payload template, in bytes.
const MaxPayload = 32 << 10

// MaxTimeout is the longest time-out of an execution, and how long a command outlives its deletion.
const MaxTimeout = 12 * time.Hour

// Payload is what a device gets, as it is.
type Payload struct {
	Content     []byte `json:"content"`
	ContentType string `json:"contentType,omitempty"`
}

// Preprocessor says how a payload template becomes a payload.
type Preprocessor struct {
	Substitution *Substitution `json:"awsJsonSubstitution,omitempty"`
}

// Substitution replaces placeholders in a JSON document; OutputFormat is JSON or CBOR.
type Substitution struct {
	OutputFormat string `json:"outputFormat"`
}

// Definition is what never changes in a command: a payload, or a template with a preprocessor.
type Definition struct {
	Payload      *Payload      `json:"payload,omitempty"`
	Template     string        `json:"payloadTemplate,omitempty"`
	Preprocessor *Preprocessor `json:"preprocessor,omitempty"`
	Parameters   []Parameter   `json:"mandatoryParameters,omitempty"`
	Role         string        `json:"roleArn,omitempty"`
}

// Command is an instruction that can be sent to devices.
type Command struct {
	ID, ARN                  string
	DisplayName, Description string
	Definition               Definition
	Created, Updated         time.Time
	Deprecated               time.Time // since when, zero for not
	Deletion                 time.Time // when it goes away, zero for not
}

// Update is a change of a command; nil leaves a member as it is.
type Update struct {
	DisplayName, Description *string
	Deprecated               *bool
}

// Page asks for a part of a listing: at most Limit results, 1 to [MaxPage], 0 for MaxPage.
type Page struct {
	Limit int
	Token string
}

// MaxPage is the largest number of results in one page.
const MaxPage = 100

var (
	idPattern   = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	contentType = regexp.MustCompile(`^[\x21-\x7e]+/[\x20-\x7e]+$`)
)

func checkID(what, id string) error {
	if !idPattern.MatchString(id) {
		return invalid("%s %q is not 1 to 64 of a-z, A-Z, 0-9, _ and -", what, id)
	}
	return nil
}

// check completes a definition and returns what is wrong with it.
func (d *Definition) check() error {
	if (d.Payload == nil) == (d.Template == "") {
		return invalid("a command of the namespace %s needs payload or payloadTemplate, and not both", Namespace)
	}
	if d.Role != "" {
		return invalid("roleArn is not supported in the namespace %s", Namespace)
	}
	if p := d.Payload; p != nil {
		switch {
		case len(p.Content) == 0:
			return invalid("payload.content is empty")
		case len(p.Content) > MaxPayload:
			return invalid("payload.content has %d bytes, at most %d are allowed", len(p.Content), MaxPayload)
		case p.ContentType == "":
			p.ContentType = "application/octet-stream"
		case len(p.ContentType) > 256 || !contentType.MatchString(p.ContentType):
			return invalid("payload.contentType %q does not have the form type/subtype", p.ContentType)
		}
		if d.Preprocessor != nil {
			return invalid("preprocessor is for payloadTemplate")
		}
	} else if err := d.checkTemplate(); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for i := range d.Parameters {
		p := &d.Parameters[i]
		if err := p.check(); err != nil {
			return err
		}
		if seen[p.Name] {
			return invalid("parameter %s is there twice", p.Name)
		}
		seen[p.Name] = true
	}
	return nil
}

func (d *Definition) checkTemplate() error {
	if len(d.Template) > MaxPayload {
		return invalid("payloadTemplate has %d bytes, at most %d are allowed", len(d.Template), MaxPayload)
	}
	if d.Preprocessor == nil || d.Preprocessor.Substitution == nil {
		return invalid("payloadTemplate needs preprocessor.awsJsonSubstitution")
	}
	if f := d.Preprocessor.Substitution.OutputFormat; !slices.Contains([]string{"JSON", "CBOR"}, f) {
		return invalid("preprocessor.awsJsonSubstitution.outputFormat is %q, not JSON or CBOR", f)
	}
	if !utf8.ValidString(d.Template) {
		return invalid("payloadTemplate is not UTF-8")
	}
	_, _, err := parseTemplate(d.Template)
	return err
}

// CreateCommand keeps a new command. ErrInvalid, and ErrConflict for an identifier that is taken.
func (s *Service) CreateCommand(ctx context.Context, c Command) (*Command, error) {
	if err := checkID("commandId", c.ID); err != nil {
		return nil, err
	}
	if err := c.checkNames(); err != nil {
		return nil, err
	}
	if err := c.Definition.check(); err != nil {
		return nil, err
	}
	definition, err := json.Marshal(c.Definition)
	if err != nil {
		return nil, fmt.Errorf("encode command %q: %w", c.ID, err)
	}
	c.ARN, c.Created = s.arn("command/"+c.ID), s.now()
	c.Updated = c.Created
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`INSERT INTO command (id, display_name, description, definition, created_at, updated_at, deprecated_at, deletion_at)
			VALUES (?, ?, ?, ?, ?, ?, 0, 0) ON CONFLICT (id) DO NOTHING`, c.ID, c.DisplayName, c.Description, string(definition), millis(c.Created), millis(c.Created))
		if err == nil && n == 0 {
			return &Error{Kind: ErrConflict, Message: fmt.Sprintf("command %s already exists", c.ID), Resource: c.ID}
		}
		return err
	})
	return &c, err
}

func (c *Command) checkNames() error {
	return errors.Join(checkText("displayName", c.DisplayName, maxDisplayName), checkText("description", c.Description, maxDescription))
}

const commandColumns = `id, display_name, description, definition, created_at, updated_at, deprecated_at, deletion_at`

func (s *Service) scanCommand(row store.Row) (*Command, error) {
	c := &Command{}
	var definition string
	var created, updated, deprecated, deletion int64
	if err := row.Scan(&c.ID, &c.DisplayName, &c.Description, &definition, &created, &updated, &deprecated, &deletion); err != nil {
		return nil, err
	}
	c.ARN = s.arn("command/" + c.ID)
	c.Created, c.Updated, c.Deprecated, c.Deletion = instant(created), instant(updated), instant(deprecated), instant(deletion)
	return c, json.Unmarshal([]byte(definition), &c.Definition)
}

func (s *Service) readCommand(rd reader, id string) (*Command, error) {
	if err := checkID("commandId", id); err != nil {
		return nil, err
	}
	c, err := s.scanCommand(rowFunc(func(dest ...any) error {
		return rd.QueryRow(`SELECT `+commandColumns+` FROM command WHERE id = ?`, []any{id}, dest...)
	}))
	if errors.Is(err, store.ErrNoRows) {
		return nil, refuse(ErrNotFound, "command %s cannot be found", id)
	}
	return c, err
}

// GetCommand returns a command. ErrNotFound.
func (s *Service) GetCommand(ctx context.Context, id string) (*Command, error) {
	return s.readCommand(s.reader(ctx), id)
}

// UpdateCommand changes names and takes a command out of use or back into it. ErrNotFound, ErrInvalid,
// and ErrConflict for a command that is being deleted.
func (s *Service) UpdateCommand(ctx context.Context, id string, u Update) (c *Command, err error) {
	now := s.now()
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
		if c, err = s.readCommand(tx, id); err != nil {
			return err
		}
		if !c.Deletion.IsZero() {
			return &Error{Kind: ErrConflict, Message: fmt.Sprintf("command %s is pending deletion", id), Resource: id}
		}
		if u.DisplayName != nil {
			c.DisplayName = *u.DisplayName
		}
		if u.Description != nil {
			c.Description = *u.Description
		}
		if err := c.checkNames(); err != nil {
			return err
		}
		switch {
		case u.Deprecated == nil:
		case !*u.Deprecated:
			c.Deprecated = time.Time{}
		case c.Deprecated.IsZero():
			c.Deprecated = now
		}
		c.Updated = now
		_, err = tx.Exec(`UPDATE command SET display_name = ?, description = ?, updated_at = ?, deprecated_at = ? WHERE id = ?`,
			c.DisplayName, c.Description, millis(now), millis(c.Deprecated), id)
		return err
	})
	return c, err
}

// DeleteCommand removes a command at once if it has been deprecated for MaxTimeout, else when that
// time is over; pending says so. A command that is not there is no error.
func (s *Service) DeleteCommand(ctx context.Context, id string) (pending bool, err error) {
	now := s.now()
	var deletion time.Time
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		deletion = time.Time{}
		c, err := s.readCommand(tx, id)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		since := c.Deprecated
		if since.IsZero() {
			since = now
		}
		at := since.Add(MaxTimeout)
		if !c.Deletion.IsZero() {
			at = c.Deletion
		}
		if !at.After(now) {
			_, err := tx.Exec(`DELETE FROM command WHERE id = ?`, id)
			return err
		}
		deletion = at
		_, err = tx.Exec(`UPDATE command SET deletion_at = ?, updated_at = ? WHERE id = ?`, millis(at), millis(now), id)
		return err
	})
	if err == nil && !deletion.IsZero() {
		s.wake()
	}
	return !deletion.IsZero(), err
}

// Filter narrows ListCommands.
type Filter struct {
	Parameter string // name of a mandatory parameter
	Ascending bool   // by creation; default the newest first
}

// ListCommands lists commands that are not being deleted.
func (s *Service) ListCommands(ctx context.Context, f Filter, page Page) ([]*Command, string, error) {
	from, limit, err := page.after(f.Ascending)
	if err != nil {
		return nil, "", err
	}
	compare, order := "<", "DESC"
	if f.Ascending {
		compare, order = ">", "ASC"
	}
	var list []*Command
	next := ""
	query := `SELECT ` + commandColumns + ` FROM command WHERE deletion_at = 0 AND (created_at ` + compare + ` ? OR created_at = ? AND id ` + compare + ` ?)
		ORDER BY created_at ` + order + `, id ` + order
	stop := errors.New("enough")
	err = s.reader(ctx).Query(query, []any{from.at, from.at, from.id}, func(row store.Row) error {
		c, err := s.scanCommand(row)
		if err != nil {
			return err
		}
		if f.Parameter != "" && !slices.ContainsFunc(c.Definition.Parameters, func(p Parameter) bool { return p.Name == f.Parameter }) {
			return nil
		}
		if len(list) == limit {
			last := list[limit-1]
			next = place{millis(last.Created), last.ID}.token()
			return stop
		}
		list = append(list, c)
		return nil
	})
	if errors.Is(err, stop) {
		err = nil
	}
	return list, next, err
}
