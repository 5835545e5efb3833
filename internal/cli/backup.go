package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/berth-iot/berth/internal/backup"
	"github.com/berth-iot/berth/internal/server"
)

// backupView is what the commands of backups print.
type backupView struct {
	File         string    `json:"file"`
	Bytes        int64     `json:"bytes"` // of the file
	Made         time.Time `json:"made"`
	Version      string    `json:"version"`
	Encrypted    bool      `json:"encrypted"`
	State        string    `json:"state"`
	Readings     string    `json:"readings"`
	Files        int       `json:"files"`
	Things       int64     `json:"things"`
	Certificates int64     `json:"certificates"`
	StateRows    int64     `json:"stateRows"`
	ReadingsRows int64     `json:"readingsRows"`
	Left         []string  `json:"left"`
	Data         string    `json:"data,omitempty"`     // of restore
	Database     string    `json:"database,omitempty"` // of restore
}

func newBackupView(path string, m *backup.Manifest, encrypted bool) backupView {
	v := backupView{File: path, Made: m.Made, Version: m.Version, Encrypted: encrypted, State: m.State, Readings: m.Readings, Files: len(m.Files),
		Things: m.Rows["thing"], Certificates: m.Rows["certificate"], ReadingsRows: m.ReadingsRows["reading"], Left: append([]string{}, m.Left...)}
	for _, n := range m.Rows {
		v.StateRows += n
	}
	if info, err := os.Stat(path); err == nil {
		v.Bytes = info.Size()
	}
	return v
}

func (v backupView) table() table {
	t := table{}
	t.add("file", v.File)
	t.add("size", strconv.FormatInt(v.Bytes, 10)+" bytes")
	t.add("made", v.Made.UTC().Format(time.RFC3339)+" by berth "+v.Version)
	t.add("encrypted", map[bool]string{true: "yes", false: "no: whoever has the file has the keys of the certificate authority"}[v.Encrypted])
	t.add("state", fmt.Sprintf("%d rows from %s: %d things, %d certificates", v.StateRows, v.State, v.Things, v.Certificates))
	switch v.Readings {
	case "postgres":
		t.add("readings", "not included: they are in PostgreSQL")
	case "sqlite":
		t.add("readings", strconv.FormatInt(v.ReadingsRows, 10)+" rows")
	}
	for _, name := range v.Left {
		t.add("left out", name)
	}
	t.add("verified", fmt.Sprintf("%d files: checksums, pages of the databases, rows, uploaded files", v.Files))
	return t
}

func backupCommand() *cobra.Command {
	var cfg server.Config
	var out string
	var encrypt bool
	flags, load := serverFlags(&cfg)
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Save all that a berth has in one file, while it runs",
		Long: `Saves database, readings, certificate authority, keys and uploaded files in one file, whether the
server runs or not, and verifies the file by restoring it. Run it as the user of the server.

With a passphrase the file is encrypted: from --backup-passphrase-file, BERTH_BACKUP_PASSPHRASE, or
asked for with --encrypt. It is in the format of age: age -d FILE | tar xz opens it, too.

berth serve --backup-dir makes backups by itself.`,
		Example: `  berth backup --data /var/lib/berth --out berth.tar.gz
  berth backup --out /mnt/berth.tar.gz.age --backup-passphrase-file /root/passphrase
  berth backup --database postgres://berth@db.example.com/berth --out berth.tar.gz
  berth backup verify berth.tar.gz`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := load(); err != nil {
				return &usageError{err}
			}
			if out == "" {
				return usagef("--out: name the file to make")
			}
			passphrase, err := cfg.Passphrase()
			if err == nil && passphrase == "" && encrypt {
				passphrase, err = ask(cmd, "passphrase: ", "once more: ")
			}
			if err != nil {
				return err
			}
			m, err := backup.Create(cmd.Context(), cfg.Source(), out, backup.Options{Passphrase: passphrase})
			if err != nil {
				return backupError(err)
			}
			v := newBackupView(out, m, passphrase != "")
			return emit(cmd, v, v.table())
		},
	}
	for _, name := range []string{"data", "database", "table-database", "backup-passphrase-file", "config"} {
		cmd.Flags().AddFlag(flags.Lookup(name))
	}
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to make; it must not exist")
	cmd.Flags().BoolVar(&encrypt, "encrypt", false, "ask for a passphrase")
	cmd.AddCommand(backupVerifyCommand())
	return cmd
}

func backupVerifyCommand() *cobra.Command {
	var cfg server.Config
	var scratch string
	flags, load := serverFlags(&cfg)
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Restore a backup into a temporary folder and check all of it",
		Example: `  berth backup verify berth.tar.gz
  berth backup verify berth.tar.gz.age --backup-passphrase-file /root/passphrase`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := load(); err != nil {
				return &usageError{err}
			}
			m, encrypted, err := opened(cmd, cfg, func(passphrase string) (*backup.Manifest, error) {
				return backup.Verify(cmd.Context(), args[0], passphrase, scratch)
			})
			if err != nil {
				return backupError(err)
			}
			v := newBackupView(args[0], m, encrypted)
			return emit(cmd, v, v.table())
		},
	}
	cmd.Flags().AddFlag(flags.Lookup("backup-passphrase-file"))
	cmd.Flags().StringVar(&scratch, "scratch", "", "folder with room for what is in the backup; empty for the system's")
	return cmd
}

func restoreCommand() *cobra.Command {
	var cfg server.Config
	flags, load := serverFlags(&cfg)
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a data folder from a backup",
		Long: `Makes the data folder of a berth from a backup, after checking all of it. The folder must be empty or not
exist. With --database the state goes into PostgreSQL, into a schema without tables, wherever it came
from.

Run it as the user of the server, or as root into an empty folder of that user.`,
		Example: `  berth restore berth.tar.gz --data berth-data
  berth restore berth.tar.gz.age --data /var/lib/berth --backup-passphrase-file /root/passphrase
  berth restore berth.tar.gz --data berth-data --database postgres://berth@db.example.com/berth`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := load(); err != nil {
				return &usageError{err}
			}
			shown := ""
			if cfg.Database != "" {
				var err error
				if shown, err = place("--database", cfg.Database); err != nil {
					return err
				}
			}
			m, encrypted, err := opened(cmd, cfg, func(passphrase string) (*backup.Manifest, error) {
				return backup.Restore(cmd.Context(), args[0], passphrase, cfg.Data, cfg.Database)
			})
			if err != nil {
				return backupError(err)
			}
			v := newBackupView(args[0], m, encrypted)
			v.Data, v.Database = cfg.Data, shown
			t := v.table()
			t.add("restored to", cfg.Data)
			if shown != "" {
				t.add("and", shown)
			}
			return emit(cmd, v, t)
		},
	}
	for _, name := range []string{"data", "database", "backup-passphrase-file", "config"} {
		cmd.Flags().AddFlag(flags.Lookup(name))
	}
	return cmd
}

// opened opens a backup with the passphrase that was given, or asks for it if it takes one.
func opened(cmd *cobra.Command, cfg server.Config, open func(passphrase string) (*backup.Manifest, error)) (_ *backup.Manifest, encrypted bool, err error) {
	if cfg.BackupSecret == "" {
		m, err := open("")
		if !errors.Is(err, backup.ErrEncrypted) {
			return m, false, err
		}
	}
	passphrase, err := cfg.Passphrase()
	if err == nil && passphrase == "" {
		passphrase, err = ask(cmd, "passphrase: ")
	}
	if err != nil {
		return nil, false, err
	}
	m, err := open(passphrase)
	return m, true, err
}

// ask asks for a secret on the terminal, and for the same as often as there are questions.
func ask(cmd *cobra.Command, questions ...string) (string, error) {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", hinted(backup.ErrEncrypted, "name a file with --backup-passphrase-file, or set BERTH_BACKUP_PASSPHRASE: there is no terminal to ask at")
	}
	answer := ""
	for i, q := range questions {
		fmt.Fprint(cmd.ErrOrStderr(), q)
		b, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		if err != nil {
			return "", err
		}
		if len(b) == 0 {
			return "", errors.New("the passphrase is empty")
		}
		if i > 0 && answer != string(b) {
			return "", errors.New("the passphrases differ")
		}
		answer = string(b)
	}
	return answer, nil
}

// backupError adds what to do.
func backupError(err error) error {
	switch {
	case errors.Is(err, backup.ErrPassphrase):
		return hinted(err, "if the passphrase is right, the first bytes of the file are damaged: take another backup")
	case errors.Is(err, backup.ErrDamaged), errors.Is(err, backup.ErrNotBackup):
		return hinted(err, "copy the file again, or take another backup; nothing was written")
	case errors.Is(err, backup.ErrNotEmpty):
		return hinted(err, "name a folder that does not exist; to replace one, move it away first")
	case errors.Is(err, fs.ErrExist):
		return hinted(err, "choose another name: "+filepath.Base(backup.Name(time.Now(), false)))
	}
	return err
}
