package cli

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/spf13/cobra"
)

func roleAliasCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:   "role-alias",
		Short: "Role aliases: temporary credentials for devices",
		Long: `Role aliases: temporary credentials for devices, which they get with their certificate.

On berth the last part of the role's ARN names the policy that says what the credentials may do:
arn:aws:iam::000000000000:role/uploader stands for the policy uploader.`,
		Example: `  berth role-alias create uploads --role uploader
  berth role-alias credentials uploads --cert lamp.crt --key lamp.key --thing lamp`,
	}, roleAliasCreateCommand(t), roleAliasListCommand(t), roleAliasDeleteCommand(t), roleAliasCredentialsCommand(t))
	t.addFlags(cmd)
	return cmd
}

// roleAliasView is a role alias as it is printed.
type roleAliasView struct {
	Name      string `json:"roleAlias"`
	ARN       string `json:"roleAliasArn,omitempty"`
	Role      string `json:"roleArn,omitempty"`
	Seconds   int32  `json:"credentialDurationSeconds,omitempty"`
	CreatedAt string `json:"creationDate,omitempty"`
}

func roleAliasCreateCommand(t *target) *cobra.Command {
	var role string
	var duration time.Duration
	cmd := &cobra.Command{
		Use:     "create ALIAS",
		Short:   "Create a role alias",
		Example: "  berth role-alias create uploads --role uploader --duration 15m",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if role == "" {
				return usagef("give --role")
			}
			s, err := t.find(cmd.Context())
			if err != nil {
				return err
			}
			v := roleAliasView{Name: args[0], Role: role, Seconds: int32(min(duration/time.Second, 1<<30))}
			if len(role) < 4 || role[:4] != "arn:" {
				account := s.account
				if account == "" {
					account = "000000000000"
				}
				v.Role = "arn:aws:iam::" + account + ":role/" + role
			}
			out, err := s.iot().CreateRoleAlias(cmd.Context(), &iot.CreateRoleAliasInput{RoleAlias: &v.Name, RoleArn: &v.Role, CredentialDurationSeconds: &v.Seconds})
			if err != nil {
				return apiError(fmt.Sprintf("create role alias %q", v.Name), err)
			}
			v.ARN = text(out.RoleAliasArn)
			return report(cmd, v, "created role alias %s for %s", v.Name, v.Role)
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "`ROLE`, by its ARN, or on berth by the name of the policy that stands for it")
	cmd.Flags().DurationVar(&duration, "duration", time.Hour, "how long credentials last, 15m to 12h")
	return cmd
}

func roleAliasListCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List role aliases",
		Example: "  berth role-alias list",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			list := []roleAliasView{}
			tab := table{header: []string{"ALIAS", "SECONDS", "ROLE"}}
			for p := iot.NewListRoleAliasesPaginator(api, &iot.ListRoleAliasesInput{}); p.HasMorePages(); {
				page, err := p.NextPage(cmd.Context())
				if err != nil {
					return apiError("list role aliases", err)
				}
				for _, name := range page.RoleAliases {
					out, err := api.DescribeRoleAlias(cmd.Context(), &iot.DescribeRoleAliasInput{RoleAlias: &name})
					if err != nil {
						return apiError(fmt.Sprintf("describe role alias %q", name), err)
					}
					d := out.RoleAliasDescription
					v := roleAliasView{name, text(d.RoleAliasArn), text(d.RoleArn), aws.ToInt32(d.CredentialDurationSeconds), timestamp(d.CreationDate)}
					list = append(list, v)
					tab.add(v.Name, strconv.Itoa(int(v.Seconds)), v.Role)
				}
			}
			return emit(cmd, map[string]any{"roleAliases": list}, tab)
		},
	}
}

func roleAliasDeleteCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "delete ALIAS",
		Short:   "Delete a role alias",
		Example: "  berth role-alias delete uploads",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			if _, err := api.DeleteRoleAlias(cmd.Context(), &iot.DeleteRoleAliasInput{RoleAlias: &args[0]}); err != nil {
				return apiError(fmt.Sprintf("delete role alias %q", args[0]), err)
			}
			return report(cmd, roleAliasView{Name: args[0]}, "deleted role alias %s", args[0])
		},
	}
}

// credentialsView is what the credentials endpoint answers.
type credentialsView struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
	SessionToken    string `json:"sessionToken"`
	Expiration      string `json:"expiration"`
}

func roleAliasCredentialsCommand(t *target) *cobra.Command {
	var cert, key, thing string
	cmd := &cobra.Command{
		Use:   "credentials ALIAS",
		Short: "Get temporary credentials as a device does, with its certificate",
		Long: `Get temporary credentials as a device does, with its certificate. The output is for a shell; with
-o json it is the answer of the credentials endpoint.`,
		Example: `  berth role-alias credentials uploads --cert lamp.crt --key lamp.key --thing lamp
  eval "$(berth role-alias credentials uploads --cert lamp.crt --key lamp.key)"`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cert == "" || key == "" {
				return usagef("give --cert and --key")
			}
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				return fmt.Errorf("read certificate and key: %w", err)
			}
			s, err := t.find(cmd.Context())
			if err != nil {
				return err
			}
			base := s.base
			if base == "" {
				out, err := s.iot().DescribeEndpoint(cmd.Context(), &iot.DescribeEndpointInput{EndpointType: aws.String("iot:CredentialProvider")})
				if err != nil {
					return apiError("describe endpoint", err)
				}
				base = "https://" + text(out.EndpointAddress)
			}
			req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, base+"/role-aliases/"+url.PathEscape(args[0])+"/credentials", nil)
			if err != nil {
				return err
			}
			if thing != "" {
				req.Header.Set("x-amzn-iot-thingname", thing)
			}
			client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots, Certificates: []tls.Certificate{pair}}}}
			resp, err := client.Do(req)
			if err != nil {
				return fmt.Errorf("get credentials of role alias %q: %w", args[0], err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
			if err != nil {
				return fmt.Errorf("get credentials of role alias %q: %w", args[0], err)
			}
			var out struct {
				Credentials credentialsView `json:"credentials"`
				Message     string          `json:"message"`
			}
			if err := json.Unmarshal(body, &out); resp.StatusCode != http.StatusOK || err != nil {
				return fmt.Errorf("get credentials of role alias %q: %s: %s", args[0], resp.Status, out.Message)
			}
			c := out.Credentials
			return emit(cmd, map[string]any{"credentials": c}, table{rows: [][]string{
				{"export AWS_ACCESS_KEY_ID=" + c.AccessKeyID}, {"export AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey},
				{"export AWS_SESSION_TOKEN=" + c.SessionToken}, {"# until " + c.Expiration}}})
		},
	}
	f := cmd.Flags()
	f.StringVar(&cert, "cert", "", "client certificate, PEM `FILE`")
	f.StringVar(&key, "key", "", "key of the client certificate, PEM `FILE`")
	f.StringVar(&thing, "thing", "", "`THING` that the certificate is attached to, for the policy variables of things")
	return cmd
}
