package cli

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/admin"
	"github.com/berth-iot/berth/internal/domain"
)

func domainCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:   "domain",
		Short: "Domain configurations: endpoints with names of their own",
		Example: `  berth domain create brand --domain-name iot.example.com
  berth domain create users --domain-name users.example.com --authentication CUSTOM_AUTH --authorizer passwords
  berth domain list`,
	}, domainCreateCommand(t), domainListCommand(t), domainDeleteCommand(t))
	t.addFlags(cmd)
	return cmd
}

// domainView is a domain configuration as it is printed.
type domainView struct {
	Name           string   `json:"domainConfigurationName"`
	ARN            string   `json:"domainConfigurationArn,omitempty"`
	DomainName     string   `json:"domainName,omitempty"`
	Status         string   `json:"domainConfigurationStatus,omitempty"`
	Certificates   []string `json:"serverCertificateArns,omitempty"`
	Authentication string   `json:"authenticationType,omitempty"`
	Protocol       string   `json:"applicationProtocol,omitempty"`
	Authorizer     string   `json:"defaultAuthorizerName,omitempty"`
	Override       bool     `json:"allowAuthorizerOverride,omitempty"`
	SecurityPolicy string   `json:"securityPolicy,omitempty"`
}

func domainCreateCommand(t *target) *cobra.Command {
	var v domainView
	var cert, key string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a domain configuration",
		Long: `Create a domain configuration. Clients choose it by the server name that they ask for (SNI).

Without --certificate, berth's own authority issues a server certificate for the name, for clients
that trust its ca.pem. With --certificate and --key, yours is shown: the chain, the leaf first.`,
		Example: `  berth domain create brand --domain-name iot.example.com --certificate chain.pem --key key.pem
  berth domain create users --domain-name users.example.com --authentication CUSTOM_AUTH --authorizer passwords`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			v.Name = args[0]
			if (cert == "") != (key == "") {
				return usagef("--certificate and --key belong together")
			}
			if cert != "" && v.DomainName == "" {
				return usagef("--certificate needs --domain-name")
			}
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			if cert != "" {
				arn, err := t.upload(cmd, cert, key)
				if err != nil {
					return err
				}
				v.Certificates = []string{arn}
			}
			in := &iot.CreateDomainConfigurationInput{DomainConfigurationName: &v.Name, DomainName: optional(v.DomainName), ServerCertificateArns: v.Certificates,
				AuthenticationType: types.AuthenticationType(v.Authentication), ApplicationProtocol: types.ApplicationProtocol(v.Protocol)}
			if v.Authorizer != "" {
				in.AuthorizerConfig = &types.AuthorizerConfig{DefaultAuthorizerName: &v.Authorizer, AllowAuthorizerOverride: aws.Bool(v.Override)}
			}
			if v.SecurityPolicy != "" {
				in.TlsConfig = &types.TlsConfig{SecurityPolicy: &v.SecurityPolicy}
			}
			out, err := api.CreateDomainConfiguration(cmd.Context(), in)
			if err != nil {
				return apiError(fmt.Sprintf("create domain configuration %q", v.Name), err)
			}
			v.ARN, v.Status = text(out.DomainConfigurationArn), string(types.DomainConfigurationStatusEnabled)
			return report(cmd, v, "created domain configuration %s", v.Name)
		},
	}
	f := cmd.Flags()
	f.StringVar(&v.DomainName, "domain-name", "", "`HOST` name that clients connect to (default a name below the endpoint's)")
	f.StringVar(&cert, "certificate", "", "server certificate with its chain, PEM `FILE`")
	f.StringVar(&key, "key", "", "key of the server certificate, PEM `FILE`")
	f.StringVar(&v.Authentication, "authentication", "", "CUSTOM_AUTH, CUSTOM_AUTH_X509, AWS_X509, AWS_SIGV4 or DEFAULT")
	f.StringVar(&v.Protocol, "protocol", "", "SECURE_MQTT, MQTT_WSS, HTTPS or DEFAULT")
	f.StringVar(&v.Authorizer, "authorizer", "", "default authorizer of the domain")
	f.BoolVar(&v.Override, "override", false, "clients may name another authorizer")
	f.StringVar(&v.SecurityPolicy, "security-policy", "", "TLS versions, such as IotSecurityPolicy_TLS13_1_3_2022_10")
	return cmd
}

// upload gives berth a server certificate and returns its ARN.
func (t *target) upload(cmd *cobra.Command, certFile, keyFile string) (string, error) {
	chain, err := input(cmd, certFile)
	if err != nil {
		return "", fmt.Errorf("--certificate: %w", err)
	}
	key, err := input(cmd, keyFile)
	if err != nil {
		return "", fmt.Errorf("--key: %w", err)
	}
	body, err := json.Marshal(admin.ServerCertificate{Certificate: string(chain), Key: string(key)})
	if err != nil {
		return "", err
	}
	var made domain.ServerCertificate
	if err := t.send(cmd.Context(), http.MethodPost, "/berth/server-certificates", "application/json", body, &made); err != nil {
		return "", fmt.Errorf("upload the server certificate: %w", err)
	}
	return made.ARN, nil
}

func domainListCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List domain configurations",
		Example: "  berth domain list",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			list := []domainView{}
			tab := table{header: []string{"NAME", "DOMAIN", "STATUS", "AUTHENTICATION", "PROTOCOL", "AUTHORIZER"}}
			for p := iot.NewListDomainConfigurationsPaginator(api, &iot.ListDomainConfigurationsInput{}); p.HasMorePages(); {
				page, err := p.NextPage(cmd.Context())
				if err != nil {
					return apiError("list domain configurations", err)
				}
				for _, s := range page.DomainConfigurations {
					d, err := api.DescribeDomainConfiguration(cmd.Context(), &iot.DescribeDomainConfigurationInput{DomainConfigurationName: s.DomainConfigurationName})
					if err != nil {
						return apiError(fmt.Sprintf("describe domain configuration %q", text(s.DomainConfigurationName)), err)
					}
					v := domainView{Name: text(d.DomainConfigurationName), ARN: text(d.DomainConfigurationArn), DomainName: text(d.DomainName), Status: string(d.DomainConfigurationStatus),
						Authentication: string(d.AuthenticationType), Protocol: string(d.ApplicationProtocol)}
					for _, c := range d.ServerCertificates {
						v.Certificates = append(v.Certificates, text(c.ServerCertificateArn))
					}
					if a := d.AuthorizerConfig; a != nil {
						v.Authorizer, v.Override = text(a.DefaultAuthorizerName), aws.ToBool(a.AllowAuthorizerOverride)
					}
					if d.TlsConfig != nil {
						v.SecurityPolicy = text(d.TlsConfig.SecurityPolicy)
					}
					list = append(list, v)
					tab.add(v.Name, v.DomainName, v.Status, v.Authentication, v.Protocol, v.Authorizer)
				}
			}
			return emit(cmd, map[string]any{"domainConfigurations": list}, tab)
		},
	}
}

func domainDeleteCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Disable and delete a domain configuration",
		Example: "  berth domain delete brand",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			name := args[0]
			if _, err := api.UpdateDomainConfiguration(cmd.Context(), &iot.UpdateDomainConfigurationInput{DomainConfigurationName: &name,
				DomainConfigurationStatus: types.DomainConfigurationStatusDisabled}); err != nil {
				return apiError(fmt.Sprintf("disable domain configuration %q", name), err)
			}
			if _, err := api.DeleteDomainConfiguration(cmd.Context(), &iot.DeleteDomainConfigurationInput{DomainConfigurationName: &name}); err != nil {
				return apiError(fmt.Sprintf("delete domain configuration %q", name), err)
			}
			return report(cmd, domainView{Name: name}, "deleted domain configuration %s", name)
		},
	}
}
