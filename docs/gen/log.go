package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// entry is a message that the server may log.
type entry struct {
	level, message, pkg string
	keys                []string
}

// todo says what to do about a message; one without needs nothing done, or says it itself.
var todo = map[string]string{
	"TLS handshake failed":   "see `reason`; `berth explain` has more of them. At most one line a second",
	"refused":                "a client broke the protocol or a limit: see `reason`. At most one line a second",
	"request":                "an internal error: report it with `request_id` and `error`. At DEBUG every request is logged",
	"commit failed":          "disk full, not writable or broken: free space, then look at the disk",
	"the database went away": "PostgreSQL does not answer: writes wait and are acknowledged later. See [databases](database.md)",
	"a write is lost: the database is away for too long":                         "bring PostgreSQL back; QoS 1 publishers were not acknowledged and send again",
	"writes are lost: the database was away at the end":                          "the server was stopped while PostgreSQL was away",
	"the database has fsync off: acknowledged writes do not survive its machine": "turn fsync on",
	"the data directory has a database too, which is not used":                   "move it away, or copy it with `berth migrate`",
	"server certificate issued":                                                  "clients that trust `ca.pem` need nothing",
	"server certificate not renewed":                                             "see `error`; the old one holds until its end",
	"TLS ticket keys are made anew":                                              "clients do full handshakes once",
	"handling a packet panicked":                                                 "a bug: report it with `stack`. The connection was closed, the others go on",
	"connection handler panicked":                                                "a bug: report it. The connection was closed, the others go on",
	"console sign-in refused":                                                    "somebody typed a wrong password or key. Repeated ones from one address: look who it is",
	"authorizer failed":                                                          "see `error`: the function did not answer in 5 s, or not with AWS's JSON",
	"provisioning hook failed":                                                   "see `error`; the device was refused and tries again",
	"provisioning request rejected":                                              "see `error`: template, parameters or hook",
	"device provisioned just in time":                                            "a device of a registered authority has joined",
	"OTA update failed":                                                          "see `error`",
	"basic ingest: no such rule":                                                 "a device publishes to `$aws/rules/NAME` and there is no such rule",
	"things in too many groups for their dynamic groups":                         "a thing can be in ten groups: change queries or groups",
	"a client cannot verify ECDSA: adding an RSA root to ca.pem, which such clients must be given": "give such devices the new `ca.pem`",
	"the state is in PostgreSQL":   "`--database` is in use",
	"a message could not be kept":  "the disk or the database: see `error`. The publisher was not acknowledged",
	"write to tables failed":       "see `error`; the rule action tries again",
	"audit check failed":           "see `error`",
	"write audit log":              "a change in the console was made and is not in its log: see `error`",
	"shadows could not be written": "the disk or the database: see `error`. Devices got an error and try again",
}

// logPage lists what is logged at INFO, WARN and ERROR.
func logPage(root string) ([]byte, error) {
	var all []entry
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && d.Name() == "testdata" {
			if err == nil {
				err = filepath.SkipDir
			}
			return err
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg := strings.TrimPrefix(filepath.ToSlash(dir), "internal/")
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if e, ok := logged(call); ok {
					e.pkg = pkg
					all = append(all, e)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	all = append(all, entry{"ERROR", "request", "awsapi", []string{"method", "path", "status", "took", "request_id", "remote", "principal", "operation", "error"}})
	var b bytes.Buffer
	b.WriteString(`# The log

<!-- Generated by go generate ./docs. Do not edit. -->

` + "`berth serve`" + ` writes to standard error, one line for each event: ` + "`time`, `level`, `msg`" + ` and the keys below.
` + "`--log-format json`" + ` makes them JSON, ` + "`--log-level`" + ` chooses from which level on (default ` + "`info`" + `). At ` + "`debug`" + ` every
request, connect and disconnect is a line, too; messages of devices never are. Why something was refused
is better asked of ` + "`berth explain`" + ` or the page Activity of the console: the log has one such line a second at most.

Keys have one meaning everywhere: ` + "`client_id`, `thing`, `topic`, `principal`" + ` (certificate identifier or access key),
` + "`certificate_id`, `source_ip`, `error`, `reason`, `took`, `file`" + `.
`)
	order := func(a, b entry) int {
		if c := strings.Compare(a.pkg, b.pkg); c != 0 {
			return c
		}
		return strings.Compare(a.message, b.message)
	}
	slices.SortStableFunc(all, order)
	for _, level := range []string{"ERROR", "WARN", "INFO"} {
		fmt.Fprintf(&b, "\n## %s\n\n| message | keys | from | what to do |\n|---|---|---|---|\n", level)
		var last entry
		for _, e := range all {
			if e.level != level || e.message == last.message && e.pkg == last.pkg {
				continue
			}
			what := todo[e.message]
			if what == "" && level == "ERROR" {
				what = "see `error`"
			}
			last = e
			keys := make([]string, len(e.keys))
			for i, k := range e.keys {
				keys[i] = "`" + k + "`"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", e.message, strings.Join(keys, ", "), e.pkg, what)
		}
	}
	return b.Bytes(), nil
}

// logged reads a call of a logger, or of a function of the same shape, such as warn("…", "key", value).
func logged(call *ast.CallExpr) (entry, bool) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return entry{}, false
	}
	level := map[string]string{"Info": "INFO", "Warn": "WARN", "Error": "ERROR", "warn": "WARN"}[sel.Sel.Name]
	message, ok := text(call.Args[0])
	if level == "" || !ok || !ofLogger(sel) {
		return entry{}, false
	}
	e := entry{level: level, message: message}
	for i := 1; i < len(call.Args); i += 2 {
		if key, ok := text(call.Args[i]); ok {
			e.keys = append(e.keys, key)
		}
	}
	return e, true
}

// ofLogger tells log.Warn and cfg.Log.Warn from Error methods of other things.
func ofLogger(sel *ast.SelectorExpr) bool {
	switch x := sel.X.(type) {
	case *ast.Ident:
		return x.Name == "log" || x.Name == "logger" || sel.Sel.Name == "warn"
	case *ast.SelectorExpr:
		return strings.EqualFold(x.Sel.Name, "log")
	}
	return false
}

func text(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}
