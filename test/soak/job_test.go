package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// jobs makes jobs for things and lets these carry them out over MQTT, one after the other.
type jobs struct {
	tally
	list []*jobWriter
}

type jobWriter struct {
	thing string
	next  int
	jobs  map[string]*execution
}

// execution is a job for one thing.
type execution struct {
	started   bool // was reported in progress
	succeeded int  // times that its success was accepted
	version   int  // that the acceptance named
	over      bool // found SUCCEEDED before it was acknowledged
	checked   bool
}

func newJobs() *jobs {
	w := &jobs{tally: tally{kind: "jobs: created, started, succeeded"}}
	for i := range 3 {
		w.list = append(w.list, &jobWriter{thing: fmt.Sprintf("worker-%d", i), jobs: make(map[string]*execution)})
	}
	return w
}

func (w *jobs) prepare(s *site) {
	for _, v := range w.list {
		s.must("POST", "/things/"+v.thing, object{}, nil)
	}
}

func (w *jobs) write(ctx context.Context, s *site) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, v := range w.list {
		wg.Go(func() { w.work(ctx, s, v) })
	}
}

func (w *jobs) work(ctx context.Context, s *site, v *jobWriter) {
	c, box, err := dial(s, v.thing)
	if err != nil {
		return
	}
	defer c.Close(context.Background())
	base := "$aws/things/" + v.thing + "/jobs/"
	for ctx.Err() == nil {
		accepted, answer, err := ask(ctx, c, box, base+"start-next", object{})
		if err != nil {
			return
		}
		var next struct {
			Execution struct{ JobID, Status string }
		}
		if json.Unmarshal(answer, &next); !accepted {
			w.answered(&refused{base, 0, string(answer)})
			continue
		}
		if next.Execution.JobID == "" { // nothing to do
			v.next++
			id := fmt.Sprintf("%s-%d", v.thing, v.next)
			if err := s.call(ctx, "PUT", "/jobs/"+id, object{"targets": []string{arn + "thing/" + v.thing}, "document": `{}`}, nil); err != nil {
				w.answered(err)
				if !isAnswer(err) {
					return
				}
				continue
			}
			v.jobs[id] = &execution{}
			w.acked(1)
			continue
		}
		id := next.Execution.JobID
		e := v.jobs[id]
		if e == nil { // was made without an acknowledgement
			e = &execution{}
			v.jobs[id] = e
		}
		e.started = true
		w.acked(1)
		accepted, answer, err = ask(ctx, c, box, base+id+"/update", object{"status": "SUCCEEDED", "includeJobExecutionState": true})
		if err != nil {
			return
		}
		if !accepted {
			w.answered(&refused{base, 0, string(answer)})
			continue
		}
		var done struct{ ExecutionState struct{ VersionNumber int } }
		json.Unmarshal(answer, &done)
		if e.succeeded++; e.succeeded > 1 || e.over {
			w.double("job %s has succeeded %d times", id, e.succeeded)
		}
		e.version = done.ExecutionState.VersionNumber
		w.acked(1)
	}
}

func (w *jobs) check(s *site, everything bool) {
	for _, v := range w.list {
		for id, e := range v.jobs {
			if e.checked && !everything {
				continue
			}
			var got struct {
				Execution struct {
					Status        string
					VersionNumber int
				}
			}
			var status string
			for range 300 { // executions are made after the job
				err := s.call(context.Background(), "GET", "/things/"+v.thing+"/jobs/"+id, nil, &got)
				if status = got.Execution.Status; err == nil || !isMissing(err) {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			switch {
			case status == "", e.started && status == "QUEUED", e.succeeded > 0 && status != "SUCCEEDED":
				w.loss("job %s is %q: %+v", id, status, *e)
			case e.succeeded > 0 && got.Execution.VersionNumber != e.version:
				w.double("job %s has version %d, %d was acknowledged", id, got.Execution.VersionNumber, e.version)
			}
			e.over = status == "SUCCEEDED"
			if e.checked = e.over; !e.over {
				continue
			}
			var job struct {
				Job struct {
					Status            string
					JobProcessDetails struct{ NumberOfSucceededThings int }
				}
			}
			for range 300 {
				if err := s.call(context.Background(), "GET", "/jobs/"+id, nil, &job); err != nil || job.Job.Status == "COMPLETED" {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if job.Job.Status != "COMPLETED" || job.Job.JobProcessDetails.NumberOfSucceededThings != 1 {
				w.double("job %s: %+v", id, job)
			}
		}
	}
}
