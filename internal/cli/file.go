package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/admin"
)

func fileCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:   "file",
		Short: "Files that devices download, such as firmware",
		Long: `Files that devices download, such as firmware. A job document names one as
${aws:iot:s3-presigned-url:berth://NAME}; the device gets an HTTPS address that expires.`,
		Example: "  berth file put firmware.bin\n  berth file list",
	}, filePutCommand(t), fileListCommand(t), fileDeleteCommand(t))
	t.addFlags(cmd)
	return cmd
}

func filePutCommand(t *target) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:     "put FILE",
		Short:   "Store a file, or a new version of it",
		Example: "  berth file put build/firmware.bin --name lamp-1.2.bin",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if name == "" && args[0] == "-" {
				return usagef("standard input has no name: give --name")
			}
			if name == "" {
				name = filepath.Base(args[0])
			}
			content, err := input(cmd, args[0])
			if err != nil {
				return err
			}
			var v admin.File
			if err := t.send(cmd.Context(), http.MethodPut, "/berth/files/"+url.PathEscape(name), "application/octet-stream", content, &v); err != nil {
				return fmt.Errorf("put file %q: %w", name, err)
			}
			return report(cmd, v, "stored %s, version %d, %d bytes, SHA-256 %s\nin a job document: ${aws:iot:s3-presigned-url:berth://%s}", v.Name, v.Version, v.Size, v.SHA256, v.Name)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name to store it under; default that of the file")
	return cmd
}

func fileListCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List files",
		Example: "  berth file list",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := struct {
				Files []admin.File `json:"files"`
			}{[]admin.File{}}
			if err := t.own(cmd.Context(), http.MethodGet, "/berth/files", nil, &list); err != nil {
				return fmt.Errorf("list files: %w", err)
			}
			tab := table{header: []string{"NAME", "VERSION", "BYTES", "CREATED", "SHA-256"}}
			for _, f := range list.Files {
				tab.add(f.Name, strconv.FormatInt(f.Version, 10), strconv.FormatInt(f.Size, 10), timestamp(&f.CreatedAt), f.SHA256)
			}
			return emit(cmd, list, tab)
		},
	}
}

func fileDeleteCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a file with all its versions",
		Example: "  berth file delete lamp-1.2.bin",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.own(cmd.Context(), http.MethodDelete, "/berth/files/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return fmt.Errorf("delete file %q: %w", args[0], err)
			}
			return report(cmd, map[string]string{"name": args[0]}, "deleted file %s", args[0])
		},
	}
}
