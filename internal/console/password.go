package console

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-iot/berth/internal/seal"
)

// PasswordFile is the name of the file that holds the console's password, in the data folder. It is
// read whenever somebody signs in: another line in it is another password.
const PasswordFile = "console-password"

// ensurePassword writes a password of a hundred random bits if the file is not there.
func ensurePassword(dir string) error {
	path := filepath.Join(dir, PasswordFile)
	_, err := os.Stat(path)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read console password: %w", err)
	}
	text := strings.ToLower(rand.Text())
	groups := make([]string, 5)
	for i := range groups {
		groups[i] = text[4*i : 4*i+4]
	}
	if err := seal.WriteFile(path, []byte(strings.Join(groups, "-")+"\n"), 0o600); err != nil {
		return fmt.Errorf("write console password: %w", err)
	}
	return nil
}

// password returns the SHA-256 of the password in force.
func password(dir string) ([sha256.Size]byte, error) {
	b, err := os.ReadFile(filepath.Join(dir, PasswordFile))
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("read console password: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return [sha256.Size]byte{}, errors.New("read console password: the file is empty")
	}
	return sha256.Sum256([]byte(line)), nil
}

// equal compares two secrets in a time that tells nothing of them.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
