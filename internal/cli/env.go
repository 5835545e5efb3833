package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/server"
)

func envCommand() *cobra.Command {
	data := server.Defaults().Data
	if v, ok := os.LookupEnv(environment("data")); ok {
		data = v
	}
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print export lines that point the AWS CLI and SDKs at this berth",
		Example: `  eval "$(berth env)"
  aws iot list-things`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			vars, err := environmentOf(cmd, data)
			if err != nil {
				return err
			}
			if wantsJSON(cmd) {
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
	cmd.Flags().StringVar(&data, "data", data, "data folder of the berth to talk to")
	return cmd
}

// environmentOf lists what the AWS CLI and SDKs read.
func environmentOf(cmd *cobra.Command, data string) ([][2]string, error) {
	s, err := fromData(cmd.Context(), data)
	if err != nil {
		return nil, err
	}
	cred, err := s.cfg.Credentials.Retrieve(cmd.Context())
	if err != nil {
		return nil, err
	}
	ca, err := filepath.Abs(filepath.Join(data, "ca.pem"))
	if err != nil {
		return nil, err
	}
	return [][2]string{
		{"AWS_ENDPOINT_URL_IOT", s.base},
		{"AWS_ENDPOINT_URL_IOT_DATA_PLANE", s.base},
		{"AWS_ENDPOINT_URL_IOT_JOBS_DATA_PLANE", s.base},
		{"AWS_ACCESS_KEY_ID", cred.AccessKeyID},
		{"AWS_SECRET_ACCESS_KEY", cred.SecretAccessKey},
		{"AWS_SESSION_TOKEN", ""},
		{"AWS_REGION", s.cfg.Region},
		{"AWS_DEFAULT_REGION", s.cfg.Region},
		{"AWS_CA_BUNDLE", ca},
	}, nil
}
