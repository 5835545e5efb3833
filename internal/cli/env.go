package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/server"
)

func envCommand() *cobra.Command {
	data := server.Defaults().Data
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print export lines that point the AWS CLI and SDKs at this berth",
		Example: `  eval "$(berth env)"
  aws iot list-things`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			vars, err := environmentOf(data)
			if err != nil {
				return err
			}
			if format, _ := cmd.Flags().GetString("output"); format == "json" {
				m := make(map[string]string, len(vars))
				for _, v := range vars {
					m[v[0]] = v[1]
				}
				return json.NewEncoder(cmd.OutOrStdout()).Encode(m)
			}
			for _, v := range vars {
				fmt.Fprintf(cmd.OutOrStdout(), "export %s='%s'\n", v[0], strings.ReplaceAll(v[1], "'", `'\''`))
			}
			return nil
		},
	}
	if v, ok := os.LookupEnv(environment("data")); ok {
		data = v
	}
	cmd.Flags().StringVar(&data, "data", data, "directory of the berth to talk to")
	return cmd
}

// environmentOf reads what a server left in its data directory.
func environmentOf(data string) ([][2]string, error) {
	b, err := os.ReadFile(filepath.Join(data, "endpoint.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no berth has run in %q: start it with `berth serve --data %s`, or name its directory with --data", data, data)
	}
	if err != nil {
		return nil, err
	}
	var r server.Ready
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read endpoint.json: %w", err)
	}
	id, secret, err := adminCredentials(data)
	if err != nil {
		return nil, err
	}
	ca, err := filepath.Abs(filepath.Join(data, "ca.pem"))
	if err != nil {
		return nil, err
	}
	url := "https://" + net.JoinHostPort(r.Endpoint, strconv.Itoa(r.HTTPSPort))
	return [][2]string{
		{"AWS_ENDPOINT_URL_IOT", url},
		{"AWS_ENDPOINT_URL_IOT_DATA_PLANE", url},
		{"AWS_ENDPOINT_URL_IOT_JOBS_DATA_PLANE", url},
		{"AWS_ACCESS_KEY_ID", id},
		{"AWS_SECRET_ACCESS_KEY", secret},
		{"AWS_SESSION_TOKEN", ""},
		{"AWS_REGION", r.Region},
		{"AWS_DEFAULT_REGION", r.Region},
		{"AWS_CA_BUNDLE", ca},
	}, nil
}

// adminCredentials reads DATA/admin-credentials.
func adminCredentials(data string) (id, secret string, err error) {
	f, err := os.Open(filepath.Join(data, "admin-credentials"))
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		value = strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(value, "'"), "'"), `'\''`, "'")
		switch name {
		case "AWS_ACCESS_KEY_ID":
			id = value
		case "AWS_SECRET_ACCESS_KEY":
			secret = value
		}
	}
	if id == "" || secret == "" {
		return "", "", fmt.Errorf("%s/admin-credentials holds no access key", data)
	}
	return id, secret, nil
}
