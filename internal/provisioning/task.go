package provisioning

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// States of a thing registration task. One that fails does so before its first line.
const (
	TaskInProgress = "InProgress"
	TaskCompleted  = "Completed"
	TaskCancelled  = "Cancelled"
)

// FileBucket is the bucket name of files in Config.TaskFiles; any other is a host that serves the
// file over HTTPS.
const FileBucket = "file"

// Limits of a file of parameters.
const (
	maxTaskBytes = 64 << 20
	maxTaskLines = 200_000
	linesPerTx   = 2000
	taskFetch    = 30 * time.Second
)

// NewTask is what StartTask needs. Every line of the input is a JSON object of parameters.
type NewTask struct{ TemplateBody, InputBucket, InputKey, Role string }

// Task is a bulk registration.
type Task struct {
	NewTask
	ID, Status, Message      string
	Total, Succeeded, Failed int64
	Created, Modified        time.Time
}

// Progress is the percentage of lines that have been dealt with.
func (t *Task) Progress() int64 {
	if t.Total == 0 {
		return 100
	}
	return 100 * (t.Succeeded + t.Failed) / t.Total
}

// States of a line.
const (
	lineWaiting = iota
	lineDone
	lineFailed
)

// tasksKept is how long a task that has ended, and its report, can be asked for.
const tasksKept = 30 * 24 * time.Hour

func (s *Service) sweepTasks(ctx context.Context) error {
	before := s.cfg.Now().Add(-tasksKept).UnixMilli()
	var ended []string
	err := s.cfg.Store.Query(ctx, `SELECT id FROM registration_task WHERE status <> ? AND modified < ?`, []any{TaskInProgress, before}, func(row store.Row) error {
		var id string
		err := row.Scan(&id)
		ended = append(ended, id)
		return err
	})
	if err != nil || len(ended) == 0 {
		return err
	}
	for _, id := range ended {
		err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(`DELETE FROM registration_task WHERE id = ?`, id)
			return err
		})
		if err != nil {
			return err
		}
	}
	return s.dropOrphans(ctx)
}

// dropOrphans deletes lines whose task is gone, or never came because the server stopped first.
func (s *Service) dropOrphans(ctx context.Context) error {
	for {
		var n int64
		err := s.cfg.Store.Write(ctx, func(tx *store.Tx) (err error) {
			n, err = tx.Exec(`DELETE FROM registration_line WHERE (task, line) IN
				(SELECT task, line FROM registration_line WHERE task NOT IN (SELECT id FROM registration_task) LIMIT ?)`, linesPerTx)
			return err
		})
		if err != nil || n == 0 {
			return err
		}
	}
}

// StartTask reads the input, keeps it and returns the identifier of the task that registers a thing
// for every line. ErrTaskExists while another one runs.
func (s *Service) StartTask(ctx context.Context, in NewTask) (string, error) {
	if _, err := ParseTemplate([]byte(in.TemplateBody)); err != nil {
		return "", err
	}
	if err := s.noTask(dbReader{ctx, s.cfg.Store}); err != nil {
		return "", err
	}
	data, err := s.readInput(ctx, in)
	if err != nil {
		return "", err
	}
	if len(data) > maxTaskBytes {
		return "", invalid("%s/%s is longer than %d bytes", in.InputBucket, in.InputKey, maxTaskBytes)
	}
	var lines []string
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			lines = append(lines, string(line))
		}
	}
	if len(lines) > maxTaskLines {
		return "", invalid("%s/%s has more than %d lines", in.InputBucket, in.InputKey, maxTaskLines)
	}
	id := uuid.NewString()
	// Lines come first and the task last, so that a task that exists is whole.
	for first := 0; first < len(lines); first += linesPerTx {
		err := s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
			for i := first; i < min(first+linesPerTx, len(lines)); i++ {
				if _, err := tx.Exec(`INSERT INTO registration_line (task, line, parameters, state, result) VALUES (?, ?, ?, 0, '')`, id, i+1, lines[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	now := s.cfg.Now().UnixMilli()
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		if err := s.noTask(tx); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO registration_task (id, template, bucket, input, role, status, message, total, next, succeeded, failed, created, modified)
			VALUES (?, ?, ?, ?, ?, ?, '', ?, 1, 0, 0, ?, ?)`, id, in.TemplateBody, in.InputBucket, in.InputKey, in.Role, TaskInProgress, len(lines), now, now)
		return err
	})
	if err != nil {
		s.cfg.Store.Submit(func(tx *store.Tx) error {
			_, err := tx.Exec(`DELETE FROM registration_line WHERE task = ?`, id)
			return err
		}, func(error) {})
		return "", err
	}
	select {
	case s.task <- struct{}{}:
	default:
	}
	return id, nil
}

func (s *Service) noTask(rd reader) error {
	var id string
	err := rd.QueryRow(`SELECT id FROM registration_task WHERE status = ? LIMIT 1`, []any{TaskInProgress}, &id)
	if errors.Is(err, store.ErrNoRows) {
		return nil
	}
	if err == nil {
		err = refuse(ErrTaskExists, "thing registration task %s is still running", id)
	}
	return err
}

// readInput reads a file of parameters, up to one byte more than it may have.
func (s *Service) readInput(ctx context.Context, in NewTask) ([]byte, error) {
	if in.InputBucket == FileBucket {
		if s.cfg.TaskFiles == "" {
			return nil, invalid("bucket %s: no folder is configured that files may be read from", FileBucket)
		}
		f, err := os.OpenInRoot(s.cfg.TaskFiles, in.InputKey)
		if err != nil {
			return nil, invalid("open %s: %v", in.InputKey, err)
		}
		defer f.Close()
		return readLimited(f)
	}
	if strings.ContainsAny(in.InputBucket, "/?#@") || in.InputBucket == "" {
		return nil, invalid("inputFileBucket %q is neither %s nor a host name", in.InputBucket, FileBucket)
	}
	ctx, cancel := context.WithTimeout(ctx, taskFetch)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+in.InputBucket+"/"+strings.TrimPrefix(in.InputKey, "/"), nil)
	if err != nil {
		return nil, invalid("inputFileKey: %v", err)
	}
	resp, err := s.cfg.HTTP.Do(req)
	if err != nil {
		return nil, invalid("fetch the input: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, invalid("fetch the input: status %s", resp.Status)
	}
	return readLimited(resp.Body)
}

func readLimited(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxTaskBytes+1))
	if err != nil {
		return nil, invalid("read the input: %v", err)
	}
	return b, nil
}

// runTasks carries tasks on, one line after the other, until the service closes. A line is done in
// the transaction that registers its thing, so that a restart does none twice.
func (s *Service) runTasks() {
	for {
		id, body := "", ""
		err := s.cfg.Store.QueryRow(s.run, `SELECT id, template FROM registration_task WHERE status = ? LIMIT 1`, []any{TaskInProgress}, &id, &body)
		if err == nil {
			err = s.runTask(id, body)
		}
		var again <-chan time.Time
		if err != nil && !errors.Is(err, store.ErrNoRows) {
			if s.run.Err() == nil {
				s.cfg.Log.Error("thing registration task", "task", id, "error", err)
			}
			again = time.After(time.Minute)
		}
		select {
		case <-s.run.Done():
			return
		case <-s.task:
		case <-again:
		}
	}
}

func (s *Service) runTask(id, body string) error {
	t, err := ParseTemplate([]byte(body))
	if err != nil {
		return err
	}
	for s.run.Err() == nil {
		var line int64
		var parameters string
		err := s.cfg.Store.QueryRow(s.run, `SELECT l.line, l.parameters FROM registration_task t JOIN registration_line l ON l.task = t.id AND l.line >= t.next
			WHERE t.id = ? AND t.status = ? AND l.state = 0 ORDER BY l.line LIMIT 1`, []any{id, TaskInProgress}, &line, &parameters)
		if errors.Is(err, store.ErrNoRows) {
			return s.cfg.Store.Write(context.Background(), func(tx *store.Tx) error {
				_, err := tx.Exec(`UPDATE registration_task SET status = ?, modified = ? WHERE id = ? AND status = ?`, TaskCompleted, s.cfg.Now().UnixMilli(), id, TaskInProgress)
				return err
			})
		}
		if err != nil {
			return err
		}
		if err := s.runLine(t, id, line, parameters); err != nil {
			return err
		}
	}
	return s.run.Err()
}

// runLine registers the thing of one line. An error concerns the server, not the line.
func (s *Service) runLine(t *Template, id string, line int64, text string) error {
	settle := func(tx *store.Tx, state int, column string, result any) error {
		b, err := json.Marshal(result)
		if err != nil {
			return err
		}
		n, err := tx.Exec(`UPDATE registration_task SET `+column+` = `+column+` + 1, next = ?, modified = ? WHERE id = ? AND status = ?`,
			line+1, s.cfg.Now().UnixMilli(), id, TaskInProgress)
		if err != nil {
			return err
		}
		if n == 0 {
			return errTaskStopped
		}
		_, err = tx.Exec(`UPDATE registration_line SET state = ?, result = ? WHERE task = ? AND line = ?`, state, string(b), id, line)
		return err
	}
	var parameters Parameters
	err := json.Unmarshal([]byte(text), &parameters)
	if err != nil {
		err = refuse(ErrParameters, "the line is not a JSON object of strings: %s", problem(err))
	} else {
		_, err = s.register(context.Background(), t, parameters, func(tx *store.Tx, out *Registration) error {
			return settle(tx, lineDone, "succeeded", map[string]any{"lineNumber": line,
				"response": map[string]any{"certificatePem": out.CertificatePEM, "resourceArns": out.ResourceARNs}})
		})
	}
	if err == nil || errors.Is(err, errTaskStopped) {
		return nil
	}
	if errors.Is(err, store.ErrClosed) {
		return err
	}
	r := reject(err)
	err = s.cfg.Store.Write(context.Background(), func(tx *store.Tx) error {
		return settle(tx, lineFailed, "failed", map[string]any{"lineNumber": line, "errorCode": r.ErrorCode, "errorMessage": r.ErrorMessage})
	})
	if errors.Is(err, errTaskStopped) {
		return nil
	}
	return err
}

var errTaskStopped = errors.New("the task was stopped")

const taskColumns = `id, template, bucket, input, role, status, message, total, succeeded, failed, created, modified`

func scanTask(scan func(dest ...any) error) (*Task, error) {
	var t Task
	var created, modified int64
	err := scan(&t.ID, &t.TemplateBody, &t.InputBucket, &t.InputKey, &t.Role, &t.Status, &t.Message, &t.Total, &t.Succeeded, &t.Failed, &created, &modified)
	t.Created, t.Modified = time.UnixMilli(created), time.UnixMilli(modified)
	return &t, err
}

// DescribeTask returns a task. registry.ErrNotFound.
func (s *Service) DescribeTask(ctx context.Context, id string) (*Task, error) {
	t, err := scanTask(func(dest ...any) error {
		return s.cfg.Store.QueryRow(ctx, `SELECT `+taskColumns+` FROM registration_task WHERE id = ?`, []any{id}, dest...)
	})
	if errors.Is(err, store.ErrNoRows) {
		return nil, notFound("thing registration task %s not found", id)
	}
	return t, err
}

// StopTask ends a task; lines that were not reached stay undone. registry.ErrNotFound, and
// registry.ErrInvalid for one that has ended.
func (s *Service) StopTask(ctx context.Context, id string) error {
	if _, err := s.DescribeTask(ctx, id); err != nil {
		return err
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`UPDATE registration_task SET status = ?, modified = ? WHERE id = ? AND status = ?`, TaskCancelled, s.cfg.Now().UnixMilli(), id, TaskInProgress)
		if err == nil && n == 0 {
			return invalid("thing registration task %s has ended", id)
		}
		return err
	})
}

// ListTasks lists the identifiers of tasks, of one state if given.
func (s *Service) ListTasks(ctx context.Context, status string, page registry.Page) ([]string, string, error) {
	limit, after, err := bounds(page)
	if err != nil {
		return nil, "", err
	}
	ids := []string{}
	err = s.cfg.Store.Query(ctx, `SELECT id FROM registration_task WHERE id > ? AND (? = '' OR status = ?) ORDER BY id LIMIT ?`,
		[]any{after, status, status, limit + 1}, func(row store.Row) error {
			var id string
			err := row.Scan(&id)
			ids = append(ids, id)
			return err
		})
	ids, next := cut(ids, limit, func(id string) string { return id })
	return ids, next, err
}

// Report writes the results of a task, or its errors, one JSON object a line. registry.ErrNotFound.
func (s *Service) Report(ctx context.Context, id string, failed bool, w io.Writer) error {
	if _, err := s.DescribeTask(ctx, id); err != nil {
		return err
	}
	state := lineDone
	if failed {
		state = lineFailed
	}
	return s.cfg.Store.Query(ctx, `SELECT result FROM registration_line WHERE task = ? AND state = ? ORDER BY line`, []any{id, state}, func(row store.Row) error {
		var result string
		if err := row.Scan(&result); err != nil {
			return err
		}
		_, err := fmt.Fprintln(w, result)
		return err
	})
}
