package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/table"
)

// maxRowsBody is the largest request that brings readings, in bytes.
const maxRowsBody = 4 << 20

// tables adds the routes of tables.
func (h *Handler) tables() {
	h.handle("GET /berth/tables", true, h.listTables)
	h.handle("GET /berth/tables/{table}", true, h.describeTable)
	h.handle("DELETE /berth/tables/{table}", false, h.deleteTable)
	h.handle("PUT /berth/tables/{table}/retention", false, h.setRetention)
	h.handle("GET /berth/tables/{table}/things", true, h.listTableThings)
	h.handle("GET /berth/tables/{table}/latest", true, h.latest)
	h.handle("GET /berth/tables/{table}/rows", true, h.queryRows)
	h.handle("DELETE /berth/tables/{table}/rows", false, h.deleteRows)
	h.mux.HandleFunc("POST /berth/tables/{table}/rows", h.putRows)
	h.mux.HandleFunc("GET /berth/tables/{table}/export", h.exportRows)
	h.reads["GET /berth/tables/{table}/export"] = true
}

func (h *Handler) listTables(context.Context, *http.Request, []byte) (any, error) {
	return map[string]any{"tables": h.Tables.List()}, nil
}

// TableDescription is a table with its measures.
type TableDescription struct {
	table.Table
	Info []table.MeasureInfo `json:"measureInfo"`
}

func (h *Handler) describeTable(_ context.Context, r *http.Request, _ []byte) (any, error) {
	t, measures, err := h.Tables.Describe(r.PathValue("table"))
	if err != nil {
		return nil, err
	}
	return TableDescription{t, measures}, nil
}

func (h *Handler) deleteTable(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	return struct{}{}, h.Tables.Drop(ctx, r.PathValue("table"))
}

// Retention asks for the retention of one table: 0 for the server's, negative for without limit.
type Retention struct {
	Seconds  int64 `json:"retentionSeconds"`
	MaxBytes int64 `json:"maxBytes"`
}

func (h *Handler) setRetention(ctx context.Context, r *http.Request, body []byte) (any, error) {
	var in Retention
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	const most = 100 * 366 * 24 * 3600
	if in.Seconds > most {
		return nil, awsapi.Invalid("retentionSeconds %d is more than %d", in.Seconds, int64(most))
	}
	return struct{}{}, h.Tables.SetRetention(ctx, r.PathValue("table"), time.Duration(max(in.Seconds, -1))*time.Second, in.MaxBytes)
}

// ThingPage is a page of the things of a table. The token is the last name of the page.
type ThingPage struct {
	Things []table.ThingInfo `json:"things"`
	Next   string            `json:"nextToken,omitempty"`
}

func (h *Handler) listTableThings(_ context.Context, r *http.Request, _ []byte) (any, error) {
	limit, q := 1000, r.URL.Query()
	if s := q.Get("limit"); s != "" {
		var err error
		if limit, err = strconv.Atoi(s); err != nil {
			return nil, awsapi.Invalid("limit %q is no number", s)
		}
	}
	list, more, err := h.Tables.Things(r.PathValue("table"), q.Get("token"), limit)
	if err != nil {
		return nil, err
	}
	page := ThingPage{Things: list}
	if more {
		page.Next = list[len(list)-1].Name
	}
	return page, nil
}

func (h *Handler) latest(_ context.Context, r *http.Request, _ []byte) (any, error) {
	q := r.URL.Query()
	list, err := h.Tables.Latest(r.PathValue("table"), q["thing"], q["measure"])
	if err != nil {
		return nil, err
	}
	return map[string]any{"latest": list}, nil
}

func (h *Handler) queryRows(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	q, err := table.ParseQuery(r.PathValue("table"), r.URL.Query(), time.Now())
	if err != nil {
		return nil, err
	}
	return h.Tables.Query(ctx, q)
}

// deleteRows wants a range, so that nobody deletes everything by leaving something out.
func (h *Handler) deleteRows(ctx context.Context, r *http.Request, _ []byte) (any, error) {
	v := r.URL.Query()
	if v.Get("from") == "" && v.Get("to") == "" && v.Get("last") == "" && v["thing"] == nil {
		return nil, awsapi.Invalid("give from, to, last or thing; DELETE /berth/tables/NAME deletes the table")
	}
	for key := range v {
		if key != "from" && key != "to" && key != "last" && key != "thing" {
			return nil, awsapi.Invalid("there is no parameter %.40q", key)
		}
	}
	from, to, err := table.ParseRange(v.Get("from"), v.Get("to"), v.Get("last"), time.Now())
	if err != nil {
		return nil, err
	}
	n, err := h.Tables.DeleteRange(ctx, r.PathValue("table"), v["thing"], from, to)
	if err != nil {
		return nil, err
	}
	return map[string]int64{"deleted": n}, nil
}

// admit checks a request's signature and role before a large body is taken, and reads the body.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request, reads bool, limit int64) ([]byte, error) {
	sum := r.Header.Get("X-Amz-Content-Sha256")
	if limit > 0 && len(sum) != 64 {
		return nil, awsapi.Invalid("sign the body and give its SHA-256 in x-amz-content-sha256")
	}
	var caller awsapi.Caller
	var err error
	if limit > 0 {
		caller, err = h.AuthenticateHash(r, sum)
	} else {
		caller, err = h.Authenticate(r, nil)
	}
	if err != nil {
		return nil, err
	}
	if caller.Role != awsapi.RoleAdmin && !(reads && caller.Role == awsapi.RoleReadOnly) {
		return nil, errNotAdmin()
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return nil, awsapi.Invalid("the body could not be read: %v", err)
	}
	if got := sha256.Sum256(body); limit > 0 && hex.EncodeToString(got[:]) != sum {
		return nil, awsapi.Invalid("the body does not have the SHA-256 given")
	}
	return body, nil
}

// putRows inserts {"rows":[{"time":…,"thing":…,"id":…,"measures":{…}}]}, or text/csv.
func (h *Handler) putRows(w http.ResponseWriter, r *http.Request) {
	n := 0
	err := func() error {
		body, err := h.admit(w, r, false, maxRowsBody)
		if err != nil {
			return err
		}
		insert := func(rows []table.Row) error {
			n += len(rows)
			return h.Tables.Insert(r.Context(), r.PathValue("table"), rows)
		}
		if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "text/csv" {
			return table.ReadCSV(bytes.NewReader(body), insert)
		}
		var in struct {
			Rows []table.Row `json:"rows"`
		}
		if err := decode(body, &in); err != nil {
			return err
		}
		return insert(in.Rows)
	}()
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]int{"rows": n})
}

// exportRows streams a query as CSV, or with format=ndjson as lines of JSON, or as Parquet.
func (h *Handler) exportRows(w http.ResponseWriter, r *http.Request) {
	var q table.Query
	v := r.URL.Query()
	err := func() (err error) {
		if _, err = h.admit(w, r, true, 0); err != nil {
			return err
		}
		if q, err = table.ParseQuery(r.PathValue("table"), v, time.Now()); err != nil {
			return err
		}
		if format := v.Get("format"); format != "" && format != "csv" && format != "ndjson" && format != "parquet" {
			return awsapi.Invalid("format %q is not csv, ndjson or parquet", format)
		}
		if v.Has("limit") || v.Has("token") {
			return awsapi.Invalid("an export has no pages: leave limit and token out")
		}
		_, _, err = h.Tables.Describe(q.Table)
		return err
	}()
	if err != nil {
		refuse(w, err)
		return
	}
	switch v.Get("format") {
	case "ndjson":
		w.Header().Set("Content-Type", "application/x-ndjson")
		err = h.Tables.WriteNDJSON(r.Context(), w, q)
	case "parquet":
		w.Header().Set("Content-Type", "application/vnd.apache.parquet")
		err = h.Tables.WriteParquet(r.Context(), w, q)
	default:
		w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
		err = h.Tables.WriteCSV(r.Context(), w, q)
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the receiver must not take what it got for everything
	}
}

func refuse(w http.ResponseWriter, err error) {
	e := toException(err)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("x-amzn-ErrorType", e.Type)
	w.WriteHeader(e.Status)
	json.NewEncoder(w).Encode(map[string]string{"message": e.Message})
}

func tableException(err error) *awsapi.Error {
	switch {
	case errors.Is(err, table.ErrNotFound):
		return &awsapi.Error{Type: "ResourceNotFoundException", Status: 404, Message: err.Error()}
	case errors.Is(err, table.ErrInvalid):
		return &awsapi.Error{Type: "InvalidRequestException", Status: 400, Message: err.Error()}
	case errors.Is(err, table.ErrLimit):
		return &awsapi.Error{Type: "LimitExceededException", Status: 410, Message: err.Error()}
	case errors.Is(err, table.ErrClosed), errors.Is(err, table.ErrUnavailable):
		return &awsapi.Error{Type: "ServiceUnavailableException", Status: 503, Message: err.Error()}
	}
	return nil
}
