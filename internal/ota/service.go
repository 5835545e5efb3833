package ota

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/berth-iot/berth/internal/codesign"
	"github.com/berth-iot/berth/internal/jobs"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/stream"
)

// Count counts the updates of an identifier.
const Count = `SELECT count(*) FROM ota_update WHERE ota_update_id = ?`

var schema = []string{`
	CREATE TABLE ota_update (
		ota_update_id TEXT PRIMARY KEY, status TEXT NOT NULL, definition TEXT NOT NULL,
		stream_id TEXT NOT NULL, own_stream BIGINT NOT NULL, document TEXT NOT NULL, failure TEXT NOT NULL,
		delete_stream BIGINT NOT NULL, delete_job BIGINT NOT NULL,
		created_at BIGINT NOT NULL, modified_at BIGINT NOT NULL);
	CREATE INDEX ota_update_by_status ON ota_update (status, created_at)`}

// Config is what a Service works with.
type Config struct {
	// Leads says whether this node of a cluster is the one that makes updates; nil without a cluster.
	Leads func() bool

	Store    *store.DB
	Jobs     *jobs.Service
	Streams  *stream.Service
	Profiles *codesign.Profiles
	Log      *slog.Logger
	Now      func() time.Time // default time.Now
	// ARN makes the Amazon resource name of a resource such as otaupdate/u.
	ARN func(resource string) string
	// Address is where devices find an object of a bucket, as it stands in a placeholder of a job
	// document.
	Address func(l stream.Location) string
}

// Service makes and deletes updates. Its methods may be called concurrently.
type Service struct {
	cfg     Config
	wake    chan struct{}
	stop    context.CancelFunc
	stopped sync.WaitGroup
}

// Open prepares the table and goes on with what was under way.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.Store.Migrate(ctx, "ota", schema); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, wake: make(chan struct{}, 1)}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.stopped.Go(func() { s.run(run) })
	return s, nil
}

// Close stops after the step that is under way. The packages it works with must still be open.
func (s *Service) Close() {
	s.stop()
	s.stopped.Wait()
}

func (s *Service) now() int64 { return s.cfg.Now().UnixMilli() }

// ARN returns an update's Amazon resource name.
func (s *Service) ARN(id string) string { return s.cfg.ARN("otaupdate/" + id) }

// JobARN returns the Amazon resource name of an update's job.
func (s *Service) JobARN(id string) string { return s.cfg.Jobs.ARN(jobPrefix + id) }

// CreateUpdate takes an update in and returns at once; it is made in the background. ErrExists,
// ErrInvalid, and ErrNotFound of the registry for targets, of codesign for profiles and of stream.
func (s *Service) CreateUpdate(ctx context.Context, in Update) (*Update, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	if err := s.cfg.Jobs.CheckTargets(ctx, in.Targets); err != nil {
		return nil, err
	}
	for _, f := range in.Files {
		if f.Signing != nil && f.Signing.Start != nil {
			if _, err := s.cfg.Profiles.Get(ctx, f.Signing.Start.Profile); err != nil {
				return nil, err
			}
		}
	}
	if _, err := s.cfg.Jobs.DescribeJob(ctx, in.JobID()); err == nil {
		return nil, &Error{Kind: ErrExists, Message: fmt.Sprintf("job %s already exists", in.JobID()), ID: in.JobID(), ARN: s.JobARN(in.ID)}
	}
	definition, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	streamID, ownStream := in.stream(), 0
	if streamID == "" && in.uses(MQTT) {
		streamID, ownStream = jobPrefix+uuid.NewString(), 1
	}
	now := s.now()
	in.Status, in.Created, in.Modified = CreatePending, time.UnixMilli(now), time.UnixMilli(now)
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`INSERT INTO ota_update (ota_update_id, status, definition, stream_id, own_stream, document, failure, delete_stream, delete_job, created_at, modified_at)
			VALUES (?, ?, ?, ?, ?, '', '', 0, 0, ?, ?) ON CONFLICT (ota_update_id) DO NOTHING`, in.ID, string(CreatePending), string(definition), streamID, ownStream, now, now)
		if err == nil && n == 0 {
			err = &Error{Kind: ErrExists, Message: fmt.Sprintf("OTA update %s already exists", in.ID), ID: in.ID, ARN: s.ARN(in.ID)}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.attend()
	return &in, nil
}

// attend makes the worker look.
func (s *Service) attend() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// record is an update as it is in the table.
type record struct {
	Update
	streamID                string // "" for none
	ownStream               bool   // made for this update
	document                string // "" until it is settled
	deleteStream, deleteJob bool
}

const columns = `ota_update_id, status, definition, stream_id, own_stream, document, failure, delete_stream, delete_job, created_at, modified_at`

func scan(row store.Row) (*record, error) {
	r := &record{}
	var id, status, definition, failure string
	var own, deleteStream, deleteJob, created, modified int64
	if err := row.Scan(&id, &status, &definition, &r.streamID, &own, &r.document, &failure, &deleteStream, &deleteJob, &created, &modified); err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(definition), &r.Update); err != nil {
		return nil, fmt.Errorf("read OTA update %s: %w", id, err)
	}
	if failure != "" {
		if err := json.Unmarshal([]byte(failure), &r.Failure); err != nil {
			return nil, fmt.Errorf("read OTA update %s: %w", id, err)
		}
	}
	r.ID, r.Status, r.ownStream, r.deleteStream, r.deleteJob = id, Status(status), own != 0, deleteStream != 0, deleteJob != 0
	r.Created, r.Modified = time.UnixMilli(created), time.UnixMilli(modified)
	return r, nil
}

func (s *Service) one(ctx context.Context, condition string, args ...any) (*record, error) {
	var r *record
	err := s.cfg.Store.Query(ctx, `SELECT `+columns+` FROM ota_update WHERE `+condition, args, func(row store.Row) (err error) {
		r, err = scan(row)
		return err
	})
	return r, err
}

// GetUpdate returns an update. ErrNotFound.
func (s *Service) GetUpdate(ctx context.Context, id string) (*Update, error) {
	r, err := s.one(ctx, `ota_update_id = ?`, id)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, unknown(id)
	}
	if r.ownStream { // then a stream stands for files as well
		for i := range r.Files {
			r.Files[i].Location.Stream = &StreamFile{r.streamID, i}
		}
	}
	return &r.Update, nil
}

func unknown(id string) error { return refuse(ErrNotFound, "OTA update %s does not exist", id) }

// maxPage is the largest number of updates in one page.
const maxPage = 250

// ListUpdates lists up to limit updates, 250 for 0, the newest first, of one status or of all for "".
// token is what the page before returned, "" for the first; the last page returns "".
func (s *Service) ListUpdates(ctx context.Context, status Status, limit int, token string) ([]*Update, string, error) {
	switch status {
	case "", CreatePending, CreateInProgress, CreateComplete, CreateFailed, DeleteInProgress, DeleteFailed:
	default:
		return nil, "", invalid("otaUpdateStatus %q is not one of updates", status)
	}
	if limit == 0 {
		limit = maxPage
	}
	if limit < 0 || limit > maxPage {
		return nil, "", invalid("page size %d is not from 1 to %d", limit, maxPage)
	}
	query, args := `SELECT `+columns+` FROM ota_update WHERE 1 = 1`, []any{}
	if status != "" {
		query += ` AND status = ?`
		args = append(args, string(status))
	}
	if token != "" {
		b, err := base64.RawURLEncoding.DecodeString(token)
		at, id, ok := strings.Cut(string(b), "/")
		created, err2 := strconv.ParseInt(at, 10, 64)
		if err != nil || err2 != nil || !ok {
			return nil, "", invalid("the pagination token is not valid")
		}
		query += ` AND (created_at < ? OR created_at = ? AND ota_update_id > ?)`
		args = append(args, created, created, id)
	}
	list, next := []*Update{}, ""
	err := s.cfg.Store.Query(ctx, query+` ORDER BY created_at DESC, ota_update_id LIMIT ?`, append(args, limit+1), func(row store.Row) error {
		r, err := scan(row)
		if err == nil {
			list = append(list, &r.Update)
		}
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if len(list) > limit {
		list = list[:limit]
		last := list[limit-1]
		next = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d/%s", last.Created.UnixMilli(), last.ID))
	}
	return list, next, nil
}

// DeleteUpdate deletes an update and its job, in the background. A job that has not ended must be
// forced: ErrInvalid otherwise. deleteStream deletes the stream that was made for the update too.
// ErrNotFound.
func (s *Service) DeleteUpdate(ctx context.Context, id string, deleteStream, force bool) error {
	r, err := s.one(ctx, `ota_update_id = ?`, id)
	if err != nil {
		return err
	}
	if r == nil {
		return unknown(id)
	}
	j, err := s.job(ctx, r)
	if err != nil {
		return err
	}
	if j != nil && !force && j.Status != jobs.Completed && j.Status != jobs.JobCanceled {
		return invalid("job %s is %s: cancel it, or delete the OTA update with forceDeleteAWSJob", j.ID, j.Status)
	}
	number := map[bool]int{true: 1}
	err = s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`UPDATE ota_update SET status = ?, delete_stream = ?, delete_job = ?, modified_at = ? WHERE ota_update_id = ?`,
			string(DeleteInProgress), number[deleteStream], number[force], s.now(), id)
		if err == nil && n == 0 {
			err = unknown(id)
		}
		return err
	})
	if err == nil {
		s.attend()
	}
	return err
}
