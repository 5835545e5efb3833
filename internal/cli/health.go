package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/server"
)

func healthCommand() *cobra.Command {
	data := server.Defaults().Data
	if v, ok := os.LookupEnv(environment("data")); ok {
		data = v
	}
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the server on this machine whether it can take writes",
		Long: `Asks /readyz of the server of a data folder: exit code 0 if a write reaches its disk, 1 if not. For
health checks of containers and supervisors.`,
		Example: `  berth health --data /var/lib/berth`,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			url, client, err := readiness(data)
			if err != nil {
				return err
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			resp, err := client.Do(req)
			if err != nil {
				return fmt.Errorf("health: %w", err)
			}
			defer resp.Body.Close()
			said, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
			text := strings.TrimSpace(string(said))
			if resp.StatusCode != http.StatusOK {
				return errors.New("health: " + text)
			}
			return report(cmd, map[string]any{"status": text, "url": url}, "%s", text)
		},
	}
	cmd.Flags().StringVar(&data, "data", data, "data folder of the berth to ask")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long it may take to answer")
	return cmd
}

// readiness is where the server of a data folder answers on this machine: plain HTTP if it has it.
func readiness(data string) (string, *http.Client, error) {
	b, err := os.ReadFile(filepath.Join(data, "endpoint.json"))
	if err != nil {
		return "", nil, hinted(fmt.Errorf("health: %w", err), "no server has been started on this folder: check --data")
	}
	var r server.Ready
	if err := json.Unmarshal(b, &r); err != nil {
		return "", nil, fmt.Errorf("health: endpoint.json: %w", err)
	}
	if r.HTTPPort != 0 {
		return fmt.Sprintf("http://127.0.0.1:%d/readyz", r.HTTPPort), &http.Client{}, nil
	}
	ca, err := os.ReadFile(filepath.Join(data, "ca.pem"))
	if err != nil {
		return "", nil, fmt.Errorf("health: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: r.Endpoint}}
	return fmt.Sprintf("https://127.0.0.1:%d/readyz", r.HTTPSPort), &http.Client{Transport: transport}, nil
}
