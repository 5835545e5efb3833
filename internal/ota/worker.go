package ota

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/codesign"
	"github.com/berth-iot/berth/internal/jobs"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/stream"
)

// retryAfter is how long the worker waits after the database or the disk failed.
const retryAfter = 5 * time.Second

// lookAgain is how often a node of a cluster looks whether there is work, or whether it is to do it.
const lookAgain = time.Second

// run makes and deletes updates, one after the other, the oldest first.
func (s *Service) run(ctx context.Context) {
	for ctx.Err() == nil {
		var look <-chan time.Time
		if leads := s.cfg.Leads; leads != nil {
			look = time.After(lookAgain) // at what other nodes have begun
			if !leads() {
				select {
				case <-ctx.Done():
				case <-look:
				}
				continue
			}
		}
		r, err := s.one(ctx, `status IN (?, ?, ?) ORDER BY created_at, ota_update_id LIMIT 1`, string(CreatePending), string(CreateInProgress), string(DeleteInProgress))
		if err == nil && r != nil {
			err = s.advance(ctx, r)
		}
		if err == nil && r != nil {
			continue
		}
		var retry <-chan time.Time
		if err != nil {
			if ctx.Err() == nil {
				s.cfg.Log.Error("work on OTA updates", "error", err)
			}
			retry = time.After(retryAfter)
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-look:
		case <-retry:
		}
	}
}

// advance takes an update to its next state. An error is one of the database: it is tried again.
func (s *Service) advance(ctx context.Context, r *record) error {
	if r.Status == DeleteInProgress {
		return s.remove(ctx, r)
	}
	if r.Status == CreatePending {
		if err := s.set(ctx, r, `status = ?`, string(CreateInProgress)); err != nil {
			return unlessDeleted(err)
		}
	}
	err := s.make(ctx, r)
	switch {
	case err == nil:
		err = s.set(ctx, r, `status = ?`, string(CreateComplete))
	case !errors.Is(err, errDeleted):
		err = s.fail(ctx, r, CreateFailed, err)
	}
	return unlessDeleted(err)
}

// errDeleted says that the deletion of an update was asked for while it was being made.
var errDeleted = errors.New("the OTA update is being deleted")

func unlessDeleted(err error) error {
	if errors.Is(err, errDeleted) {
		return nil
	}
	return err
}

// set changes an update unless its deletion was asked for meanwhile: errDeleted.
func (s *Service) set(ctx context.Context, r *record, assignment string, values ...any) error {
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`UPDATE ota_update SET `+assignment+`, modified_at = ? WHERE ota_update_id = ? AND (status <> ? OR status = ?)`,
			append(values, s.now(), r.ID, string(DeleteInProgress), string(r.Status))...)
		if err == nil && n == 0 {
			err = errDeleted
		}
		return err
	})
}

// fail records why an update could not be made or deleted, unless the server is being closed.
func (s *Service) fail(ctx context.Context, r *record, status Status, reason error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b, err := json.Marshal(failure(reason))
	if err != nil {
		return err
	}
	s.cfg.Log.Warn("OTA update failed", "ota_update_id", r.ID, "status", string(status), "error", reason)
	return s.set(ctx, r, `status = ?, failure = ?`, string(status), string(b))
}

// failure gives an error the name that the API has for it.
func failure(err error) Failure {
	for _, k := range []struct {
		kind error
		code string
	}{
		{stream.ErrUnauthorized, "UnauthorizedException"},
		{stream.ErrNotFound, "ResourceNotFoundException"}, {codesign.ErrNotFound, "ResourceNotFoundException"},
		{jobs.ErrNotFound, "ResourceNotFoundException"}, {registry.ErrNotFound, "ResourceNotFoundException"},
		{stream.ErrExists, "ResourceAlreadyExistsException"}, {jobs.ErrAlreadyExists, "ResourceAlreadyExistsException"},
		{stream.ErrLimit, "LimitExceededException"}, {jobs.ErrLimit, "LimitExceededException"},
		{stream.ErrInvalid, "InvalidRequestException"}, {jobs.ErrInvalid, "InvalidRequestException"}, {ErrInvalid, "InvalidRequestException"},
	} {
		if errors.Is(err, k.kind) {
			return Failure{k.code, err.Error()}
		}
	}
	return Failure{"InternalFailureException", err.Error()}
}

// make signs the files and makes stream and job. Whatever an earlier run has done already stays.
func (s *Service) make(ctx context.Context, r *record) error {
	resumed := r.document != ""
	if !resumed {
		d, err := s.prepare(ctx, r)
		if err != nil {
			return err
		}
		if r.document, err = d.text(); err != nil {
			return err
		}
		// From here on the signatures stay: another run would make others, and another document.
		if err := s.set(ctx, r, `document = ?`, r.document); err != nil {
			return err
		}
	}
	_, err := s.cfg.Jobs.CreateJob(ctx, jobs.NewJob{ID: r.JobID(), Selection: r.Selection, Targets: r.Targets, Document: r.document, Definition: jobs.Definition{
		Description: r.Description, Presigned: r.Presigned, Rollout: r.Rollout, Abort: r.Abort.job(), Timeout: r.Timeout}})
	if resumed && errors.Is(err, jobs.ErrAlreadyExists) {
		if j, err2 := s.job(ctx, r); err2 == nil && j != nil {
			return nil
		}
	}
	return err
}

// job returns the update's job; nil if it has none, or if the one of that name was not made for it.
func (s *Service) job(ctx context.Context, r *record) (*jobs.Job, error) {
	if r.document == "" {
		return nil, nil
	}
	text, err := s.cfg.Jobs.GetJobDocument(ctx, r.JobID(), false)
	if err == nil && text == r.document {
		var j *jobs.Job
		if j, err = s.cfg.Jobs.DescribeJob(ctx, r.JobID()); err == nil {
			return j, nil
		}
	}
	if errors.Is(err, jobs.ErrNotFound) {
		err = nil
	}
	return nil, err
}

// prepare makes the stream and the signatures, and of them the job document.
func (s *Service) prepare(ctx context.Context, r *record) (*document, error) {
	files, err := s.files(ctx, r)
	if err != nil {
		return nil, err
	}
	d := &document{}
	d.OTA.Protocols = r.Protocols
	if r.uses(MQTT) {
		d.OTA.Stream = r.streamID
	}
	for i, f := range r.Files {
		out := documentFile{path: f.Name, size: files[i].Object.Size, id: files[i].ID, kind: f.Type}
		if r.uses(HTTP) {
			out.url = "${aws:iot:s3-presigned-url:" + s.address(files[i]) + "}"
		}
		if err := s.sign(ctx, &out, f.Signing, files[i].Object); err != nil {
			return nil, err
		}
		d.OTA.Files = append(d.OTA.Files, out)
	}
	return d, nil
}

// address pins a file of the server to the version that is signed.
func (s *Service) address(f stream.File) string {
	if l := f.Location; l != nil && l.Bucket != stream.Bucket {
		return s.cfg.Address(*l)
	}
	return fmt.Sprintf("berth://%s?versionId=%d", f.Object.Name, f.Object.Version)
}

// files finds the files, in the stream that they are in, or makes a stream of them if one is needed.
func (s *Service) files(ctx context.Context, r *record) ([]stream.File, error) {
	if r.streamID != "" {
		v, err := s.cfg.Streams.DescribeStream(ctx, r.streamID)
		switch {
		case err == nil && r.ownStream: // made by an earlier run
			return v.Files, nil
		case err == nil:
			return pick(v, r.Files)
		case !errors.Is(err, stream.ErrNotFound) || !r.ownStream:
			return nil, err
		}
	}
	list := make([]stream.File, len(r.Files))
	for i, f := range r.Files {
		o, err := s.cfg.Streams.Find(ctx, *f.Location.S3)
		if err != nil {
			return nil, err
		}
		list[i] = stream.File{ID: i, Location: f.Location.S3, Object: o}
	}
	if !r.ownStream {
		return list, nil
	}
	_, err := s.cfg.Streams.CreateStream(ctx, stream.NewStream{ID: r.streamID, Description: r.Description, RoleARN: r.RoleARN, Files: list})
	return list, err
}

func pick(v *stream.Stream, files []File) ([]stream.File, error) {
	list := make([]stream.File, len(files))
	for i, f := range files {
		found := v.File(int64(f.Location.Stream.FileID))
		if found == nil {
			return nil, refuse(stream.ErrNotFound, "stream %s has no file %d", v.ID, f.Location.Stream.FileID)
		}
		list[i] = *found
	}
	return list, nil
}

func (s *Service) sign(ctx context.Context, out *documentFile, c *CodeSigning, o *stream.Object) error {
	switch {
	case c == nil:
	case c.Custom != nil:
		out.algorithms = strings.ToLower(c.Custom.Hash + "-" + c.Custom.Algorithm)
		out.signature = base64.StdEncoding.EncodeToString(c.Custom.Signature.Inline)
		if c.Custom.Chain != nil {
			out.certificate = c.Custom.Chain.Name
		}
	default:
		p, err := s.cfg.Profiles.Get(ctx, c.Start.Profile)
		if err != nil {
			return err
		}
		digest, err := hex.DecodeString(o.SHA256)
		if err != nil {
			return err
		}
		signature, err := s.cfg.Profiles.Sign(ctx, p.Name, digest)
		if err != nil {
			return err
		}
		out.algorithms, out.signature, out.certificate = "sha256-"+p.SignatureAlgorithm(), base64.StdEncoding.EncodeToString(signature), p.CertificatePath
		if c.Start.Parameter != nil && c.Start.Parameter.CertificatePath != "" {
			out.certificate = c.Start.Parameter.CertificatePath
		}
	}
	return nil
}

// remove deletes job, stream and update. What is gone already is no obstacle.
func (s *Service) remove(ctx context.Context, r *record) error {
	j, err := s.job(ctx, r)
	if err == nil && j != nil {
		if err = s.cfg.Jobs.DeleteJob(ctx, j.ID, r.deleteJob); errors.Is(err, jobs.ErrNotFound) {
			err = nil
		}
	}
	if err == nil && r.deleteStream && r.ownStream {
		if err = s.cfg.Streams.DeleteStream(ctx, r.streamID); errors.Is(err, stream.ErrNotFound) {
			err = nil
		}
	}
	if err != nil {
		return s.fail(ctx, r, DeleteFailed, err)
	}
	return s.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM ota_update WHERE ota_update_id = ? AND status = ?`, r.ID, string(DeleteInProgress))
		return err
	})
}
