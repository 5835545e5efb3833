package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// Template is a job definition to make jobs from.
type Template struct {
	ID, ARN    string
	Definition Definition
	Document   string
	Created    time.Time
}

// TemplateARN returns a job template's Amazon resource name.
func (s *Service) TemplateARN(id string) string { return s.cfg.Registry.ARN("jobtemplate/" + id) }

// CreateJobTemplate makes a template of a definition and its document, or of an existing job.
// ErrConflict for one of that name.
func (s *Service) CreateJobTemplate(ctx context.Context, id string, d Definition, document, jobARN string, tags []registry.Tag) (*Template, error) {
	if err := checkID("jobTemplateId", id); err != nil {
		return nil, err
	}
	if d.Description == "" {
		return nil, invalid("description is required")
	}
	if jobARN != "" {
		if document != "" || d.DocumentSource != "" {
			return nil, invalid("give a jobArn, or a document or documentSource, not both")
		}
		source, ok := strings.CutPrefix(jobARN, s.ARN(""))
		if !ok {
			return nil, invalid("%s is not the ARN of a job of this account and region", jobARN)
		}
		j, err := readJob(s.reader(ctx), source)
		if err != nil {
			return nil, err
		}
		if document, err = readDocument(s.reader(ctx), source); err != nil {
			return nil, err
		}
		d.inherit(&j.definition)
		d.DocumentSource = j.definition.DocumentSource
	} else {
		var err error
		if document, err = s.document(ctx, document, d.DocumentSource); err != nil {
			return nil, err
		}
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	if d.Schedule != nil {
		if err := (&Schedule{Maintenances: d.Schedule.Maintenances}).Check(true, s.now()); err != nil {
			return nil, err
		}
	}
	t := &Template{ID: id, ARN: s.TemplateARN(id), Definition: d, Document: document, Created: s.now()}
	return t, s.write(func(c *change) error {
		n, err := c.tx.Exec(`INSERT INTO job_template (template_id, definition, document, created_at) VALUES (?, ?, ?, ?) ON CONFLICT (template_id) DO NOTHING`,
			id, encode(d), document, millis(t.Created))
		if err == nil && n == 0 {
			err = &Error{Kind: ErrConflict, Message: "job template " + id + " already exists", ID: id, ARN: t.ARN}
		}
		if err != nil {
			return err
		}
		return c.cfg.Registry.SetTags(c.tx, "jobtemplate/"+id, tags)
	})
}

// inherit takes what another definition says where this one says nothing.
func (d *Definition) inherit(from *Definition) {
	if d.Description == "" {
		d.Description = from.Description
	}
	if d.Presigned == nil {
		d.Presigned = from.Presigned
	}
	if d.Rollout == nil {
		d.Rollout = from.Rollout
	}
	if d.Abort == nil {
		d.Abort = from.Abort
	}
	if d.Timeout == nil {
		d.Timeout = from.Timeout
	}
	if d.Retry == nil {
		d.Retry = from.Retry
	}
	if d.Packages == nil {
		d.Packages = from.Packages
	}
	if d.Schedule == nil && from.Schedule != nil && len(from.Schedule.Maintenances) > 0 {
		d.Schedule = &Schedule{Maintenances: from.Schedule.Maintenances}
	}
}

func (s *Service) scanTemplate(row store.Row) (*Template, error) {
	t := &Template{}
	var definition string
	var created int64
	if err := row.Scan(&t.ID, &definition, &t.Document, &created); err != nil {
		return nil, err
	}
	t.ARN, t.Created = s.TemplateARN(t.ID), instant(created)
	return t, decode(definition, &t.Definition)
}

// DescribeJobTemplate returns a template. ErrNotFound.
func (s *Service) DescribeJobTemplate(ctx context.Context, id string) (*Template, error) {
	t, err := s.scanTemplate(rowFunc(func(dest ...any) error {
		return s.cfg.Store.QueryRow(ctx, `SELECT template_id, definition, document, created_at FROM job_template WHERE template_id = ?`, []any{id}, dest...)
	}))
	if errors.Is(err, store.ErrNoRows) {
		return nil, refuse(ErrNotFound, "job template %s cannot be found", id)
	}
	return t, err
}

// DeleteJobTemplate deletes a template; jobs made from it stay. ErrNotFound.
func (s *Service) DeleteJobTemplate(_ context.Context, id string) error {
	return s.write(func(c *change) error {
		n, err := c.tx.Exec(`DELETE FROM job_template WHERE template_id = ?`, id)
		if err == nil && n == 0 {
			err = refuse(ErrNotFound, "job template %s cannot be found", id)
		}
		if err != nil {
			return err
		}
		return c.cfg.Registry.DropTags(c.tx, "jobtemplate/"+id)
	})
}

// ListJobTemplates lists templates by name.
func (s *Service) ListJobTemplates(ctx context.Context, page Page) ([]*Template, string, error) {
	limit, after, err := page.after(1)
	if err != nil {
		return nil, "", err
	}
	list, token := []*Template{}, ""
	err = s.cfg.Store.Query(ctx, `SELECT template_id, definition, document, created_at FROM job_template WHERE template_id > ? ORDER BY template_id LIMIT ?`,
		[]any{after[0], limit + 1}, func(row store.Row) error {
			t, err := s.scanTemplate(row)
			if err != nil {
				return err
			}
			if len(list) == limit {
				token = pageToken(list[limit-1].ID)
				return nil
			}
			list = append(list, t)
			return nil
		})
	return list, token, err
}

// fromTemplate fills a job from the template that it names.
func (s *Service) fromTemplate(ctx context.Context, in *NewJob) error {
	if in.Document != "" || in.DocumentSource != "" {
		return invalid("give a jobTemplateArn, or a document or documentSource, not both")
	}
	if _, name, ok := strings.Cut(in.TemplateARN, "::jobtemplate/"); ok {
		name, version, _ := strings.Cut(name, ":")
		m, err := DescribeManagedTemplate(name, version)
		if err != nil {
			return err
		}
		in.Document, err = m.fill(in.DocumentParameters)
		return err
	}
	if len(in.DocumentParameters) > 0 {
		return invalid("documentParameters are for AWS managed templates")
	}
	id, ok := strings.CutPrefix(in.TemplateARN, s.TemplateARN(""))
	if !ok {
		return invalid("%s is not the ARN of a job template of this account and region", in.TemplateARN)
	}
	t, err := s.DescribeJobTemplate(ctx, id)
	if err != nil {
		return err
	}
	if sched := in.Schedule; sched != nil && len(sched.Maintenances) == 0 && t.Definition.Schedule != nil && in.Selection == Continuous {
		sched.Maintenances = t.Definition.Schedule.Maintenances
	}
	in.Definition.inherit(&t.Definition)
	if in.Selection == Snapshot && in.Schedule != nil {
		in.Schedule.Maintenances = nil
	}
	if in.Document, in.DocumentSource = t.Document, ""; t.Document == "" {
		in.DocumentSource = t.Definition.DocumentSource
	}
	return nil
}

// Parameter is one that the document of a managed template takes.
type Parameter struct {
	Key, Description, Regex, Example string
	Optional                         bool
}

// ManagedTemplate is a template that comes with the service.
type ManagedTemplate struct {
	Name, Version, Description string
	Environments               []string
	Parameters                 []Parameter
	Document                   string
}

// ARN returns its Amazon resource name, which has no account.
func (m *ManagedTemplate) ARN(region string) string {
	return fmt.Sprintf("arn:aws:iot:%s::jobtemplate/%s:%s", region, m.Name, m.Version)
}

// fill puts parameters into the document.
func (m *ManagedTemplate) fill(parameters map[string]string) (string, error) {
	known := make(map[string]bool)
	for _, p := range m.Parameters {
		known[p.Key] = true
		if !p.Optional && parameters[p.Key] == "" {
			return "", invalid("template %s needs the parameter %s", m.Name, p.Key)
		}
	}
	for k := range parameters {
		if !known[k] {
			return "", invalid("template %s has no parameter %s", m.Name, k)
		}
	}
	return substitute(m.Document, parameters), nil
}

// ManagedTemplates lists the templates that AWS offers and that suit a device with handlers (AWS IoT
// developer guide, "Job templates managed by AWS").
func ManagedTemplates() []ManagedTemplate {
	path := Parameter{"pathToHandler", "Folder of the handler on the device", "^.*$", "/usr/local/handlers", true}
	user := Parameter{"runAsUser", "User that runs the handler", "^.*$", "root", true}
	one := func(name, description, handler string, parameters ...Parameter) ManagedTemplate {
		var args []string
		for _, p := range parameters {
			args = append(args, `"${aws:iot:parameter:`+p.Key+`}"`)
		}
		list := ""
		if len(args) > 0 {
			list = `"args":[` + strings.Join(args, ",") + `],`
		}
		return ManagedTemplate{Name: name, Version: "1.0", Description: description, Environments: []string{"LINUX"},
			Parameters: append(parameters, path, user),
			Document: `{"version":"1.0","steps":[{"action":{"name":"` + name[len("AWS-"):] + `","type":"runHandler","input":{"handler":"` + handler + `",` + list +
				`"path":"${aws:iot:parameter:pathToHandler}"},"runAsUser":"${aws:iot:parameter:runAsUser}"}}]}`}
	}
	packages := Parameter{"packages", "Packages, separated by spaces", "^[a-zA-Z0-9 .,+:_-]+$", "nginx curl", false}
	services := Parameter{"services", "Services, separated by spaces", "^[a-zA-Z0-9 .,@:_-]+$", "nginx mosquitto", false}
	run := one("AWS-Run-Command", "Run a shell command on the device", "run-command.sh",
		Parameter{"command", "The command with its arguments, separated by commas", "^.+$", "echo,hello", false})
	run.Document = `{"version":"1.0","steps":[{"action":{"name":"Run-Command","type":"runCommand","input":{"command":"${aws:iot:parameter:command}"},"runAsUser":"${aws:iot:parameter:runAsUser}"}}]}`
	run.Parameters = []Parameter{run.Parameters[0], user}
	return []ManagedTemplate{
		one("AWS-Download-File", "Download a file to the device", "download-file.sh",
			Parameter{"downloadUrl", "Address to download from", "^https?://.+$", "https://example.com/file", false},
			Parameter{"filePath", "Where the file goes on the device", "^.+$", "/tmp/file", false}),
		one("AWS-Install-Application", "Install packages on the device", "install-packages.sh", packages),
		one("AWS-Reboot", "Reboot the device", "reboot.sh"),
		one("AWS-Remove-Application", "Remove packages from the device", "remove-packages.sh", packages),
		one("AWS-Restart-Application", "Restart services of the device", "restart-services.sh", services),
		run,
		one("AWS-Start-Application", "Start services of the device", "start-services.sh", services),
		one("AWS-Stop-Application", "Stop services of the device", "stop-services.sh", services),
	}
}

// DescribeManagedTemplate returns a managed template, of any version for "". ErrNotFound.
func DescribeManagedTemplate(name, version string) (*ManagedTemplate, error) {
	for _, m := range ManagedTemplates() {
		if m.Name == name && (version == "" || version == m.Version) {
			return &m, nil
		}
	}
	return nil, refuse(ErrNotFound, "managed job template %s %s cannot be found", name, version)
}
