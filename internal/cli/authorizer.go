package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/spf13/cobra"
)

func authorizerCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:   "authorizer",
		Short: "Custom authorizers: functions that decide by user name and password, or by a token",
		Example: `  berth authorizer create passwords --function https://example.com/allow --signing-disabled --default
  berth authorizer test passwords --username lamp --pw secret --client-id lamp
  berth authorizer list`,
	}, authorizerCreateCommand(t), authorizerListCommand(t), authorizerTestCommand(t), authorizerDeleteCommand(t))
	t.addFlags(cmd)
	return cmd
}

// authorizerView is an authorizer as it is printed.
type authorizerView struct {
	Name            string            `json:"authorizerName"`
	ARN             string            `json:"authorizerArn,omitempty"`
	Function        string            `json:"authorizerFunctionArn,omitempty"`
	TokenKeyName    string            `json:"tokenKeyName,omitempty"`
	PublicKeys      map[string]string `json:"tokenSigningPublicKeys,omitempty"`
	Status          string            `json:"status,omitempty"`
	SigningDisabled bool              `json:"signingDisabled,omitempty"`
	CacheHTTP       bool              `json:"enableCachingForHttp,omitempty"`
	Default         bool              `json:"isDefault,omitempty"`
	CreatedAt       string            `json:"creationDate,omitempty"`
}

func authorizerCreateCommand(t *target) *cobra.Command {
	var v authorizerView
	var keys []string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a custom authorizer",
		Long: `Create a custom authorizer. Its function is an http or https URL that gets the JSON of AWS IoT by
POST, exec: and the path of a program that berth serve --hook-commands names, or the ARN of a
Lambda function.

Clients name the authorizer in their user name, as in
lamp?x-amz-customauthorizer-name=passwords, or get the default one.`,
		Example: `  berth authorizer create passwords --function https://example.com/allow --signing-disabled --default
  berth authorizer create tokens --function exec:/usr/local/bin/allow --token-key MyToken --public-key public.pem`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			v.Name = args[0]
			if v.Function == "" {
				return usagef("give --function")
			}
			if !v.SigningDisabled && (v.TokenKeyName == "" || len(keys) == 0) {
				return usagef("give --token-key and --public-key, or --signing-disabled")
			}
			for _, file := range keys {
				text, err := os.ReadFile(file)
				if err != nil {
					return fmt.Errorf("--public-key: %w", err)
				}
				if v.PublicKeys == nil {
					v.PublicKeys = make(map[string]string)
				}
				v.PublicKeys[keyName(file)] = string(text)
			}
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			out, err := api.CreateAuthorizer(cmd.Context(), &iot.CreateAuthorizerInput{AuthorizerName: &v.Name, AuthorizerFunctionArn: &v.Function,
				TokenKeyName: optional(v.TokenKeyName), TokenSigningPublicKeys: v.PublicKeys, SigningDisabled: aws.Bool(v.SigningDisabled),
				EnableCachingForHttp: aws.Bool(v.CacheHTTP), Status: types.AuthorizerStatusActive})
			if err != nil {
				return apiError(fmt.Sprintf("create authorizer %q", v.Name), err)
			}
			v.ARN, v.Status = text(out.AuthorizerArn), string(types.AuthorizerStatusActive)
			if v.Default {
				if _, err := api.SetDefaultAuthorizer(cmd.Context(), &iot.SetDefaultAuthorizerInput{AuthorizerName: &v.Name}); err != nil {
					return apiError(fmt.Sprintf("created authorizer %q; make it the default", v.Name), err)
				}
			}
			return report(cmd, v, "created authorizer %s", v.Name)
		},
	}
	f := cmd.Flags()
	f.StringVar(&v.Function, "function", "", "`TARGET` that decides: a URL, exec:PATH or the ARN of a Lambda function")
	f.StringVar(&v.TokenKeyName, "token-key", "", "`NAME` of the field that holds the token")
	f.StringArrayVar(&keys, "public-key", nil, "RSA public key, PEM `FILE`, that verifies the token's signature; may be repeated")
	f.BoolVar(&v.SigningDisabled, "signing-disabled", false, "tokens are not signed, or there are none")
	f.BoolVar(&v.CacheHTTP, "cache-http", false, "an answer holds for further requests on the same connection")
	f.BoolVar(&v.Default, "default", false, "decide over clients that name no authorizer")
	return cmd
}

// keyName makes a name for a public key of the name of its file.
func keyName(file string) string {
	base := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(":_-", r) {
			return r
		}
		return '_'
	}, base)
}

func authorizerListCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List custom authorizers",
		Example: "  berth authorizer list",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			usual := ""
			switch out, err := api.DescribeDefaultAuthorizer(cmd.Context(), &iot.DescribeDefaultAuthorizerInput{}); {
			case err == nil:
				usual = text(out.AuthorizerDescription.AuthorizerName)
			case !isException(err, "ResourceNotFoundException"):
				return apiError("describe the default authorizer", err)
			}
			list := []authorizerView{}
			tab := table{header: []string{"NAME", "STATUS", "DEFAULT", "SIGNED", "FUNCTION"}}
			for p := iot.NewListAuthorizersPaginator(api, &iot.ListAuthorizersInput{}); p.HasMorePages(); {
				page, err := p.NextPage(cmd.Context())
				if err != nil {
					return apiError("list authorizers", err)
				}
				for _, s := range page.Authorizers {
					out, err := api.DescribeAuthorizer(cmd.Context(), &iot.DescribeAuthorizerInput{AuthorizerName: s.AuthorizerName})
					if err != nil {
						return apiError(fmt.Sprintf("describe authorizer %q", text(s.AuthorizerName)), err)
					}
					d := out.AuthorizerDescription
					v := authorizerView{Name: text(d.AuthorizerName), ARN: text(d.AuthorizerArn), Function: text(d.AuthorizerFunctionArn), TokenKeyName: text(d.TokenKeyName),
						PublicKeys: d.TokenSigningPublicKeys, Status: string(d.Status), SigningDisabled: aws.ToBool(d.SigningDisabled),
						CacheHTTP: aws.ToBool(d.EnableCachingForHttp), CreatedAt: timestamp(d.CreationDate)}
					v.Default = v.Name == usual
					list = append(list, v)
					tab.add(v.Name, v.Status, strconv.FormatBool(v.Default), strconv.FormatBool(!v.SigningDisabled), v.Function)
				}
			}
			return emit(cmd, map[string]any{"authorizers": list}, tab)
		},
	}
}

func authorizerTestCommand(t *target) *cobra.Command {
	var user, password, clientID, token, signature, serverName string
	cmd := &cobra.Command{
		Use:     "test NAME",
		Short:   "Ask a custom authorizer about a client",
		Example: "  berth authorizer test passwords --username lamp --pw secret --client-id lamp",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			in := &iot.TestInvokeAuthorizerInput{AuthorizerName: &args[0], Token: optional(token), TokenSignature: optional(signature)}
			if user != "" || password != "" || clientID != "" {
				in.MqttContext = &types.MqttContext{Username: optional(user), ClientId: optional(clientID)}
				if password != "" {
					in.MqttContext.Password = []byte(password)
				}
			}
			if serverName != "" {
				in.TlsContext = &types.TlsContext{ServerName: &serverName}
			}
			out, err := api.TestInvokeAuthorizer(cmd.Context(), in)
			if err != nil {
				return apiError(fmt.Sprintf("test authorizer %q", args[0]), err)
			}
			v := struct {
				Authenticated bool     `json:"isAuthenticated"`
				PrincipalID   string   `json:"principalId,omitempty"`
				Documents     []string `json:"policyDocuments"`
				Refresh       int32    `json:"refreshAfterInSeconds"`
				Disconnect    int32    `json:"disconnectAfterInSeconds"`
			}{aws.ToBool(out.IsAuthenticated), text(out.PrincipalId), out.PolicyDocuments, aws.ToInt32(out.RefreshAfterInSeconds), aws.ToInt32(out.DisconnectAfterInSeconds)}
			rows := [][]string{{"authenticated", strconv.FormatBool(v.Authenticated)}, {"principal", v.PrincipalID},
				{"refresh", strconv.Itoa(int(v.Refresh)) + " s"}, {"disconnect", strconv.Itoa(int(v.Disconnect)) + " s"}}
			for _, d := range v.Documents {
				rows = append(rows, []string{"policy", d})
			}
			return emit(cmd, v, table{rows: rows})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&user, "username", "u", "", "user name of CONNECT")
	f.StringVarP(&password, "pw", "P", "", "password of CONNECT")
	f.StringVarP(&clientID, "client-id", "i", "", "client identifier of CONNECT")
	f.StringVar(&token, "token", "", "token")
	f.StringVar(&signature, "signature", "", "signature of the token, base64")
	f.StringVar(&serverName, "server-name", "", "server name that the client asks for")
	return cmd
}

func authorizerDeleteCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Deactivate and delete a custom authorizer",
		Example: "  berth authorizer delete passwords",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := t.control(cmd)
			if err != nil {
				return err
			}
			ctx, name := cmd.Context(), args[0]
			out, err := api.DescribeDefaultAuthorizer(ctx, &iot.DescribeDefaultAuthorizerInput{})
			if err == nil && text(out.AuthorizerDescription.AuthorizerName) == name {
				if _, err := api.ClearDefaultAuthorizer(ctx, &iot.ClearDefaultAuthorizerInput{}); err != nil {
					return apiError("clear the default authorizer", err)
				}
			}
			if _, err := api.UpdateAuthorizer(ctx, &iot.UpdateAuthorizerInput{AuthorizerName: &name, Status: types.AuthorizerStatusInactive}); err != nil {
				return apiError(fmt.Sprintf("deactivate authorizer %q", name), err)
			}
			if _, err := api.DeleteAuthorizer(ctx, &iot.DeleteAuthorizerInput{AuthorizerName: &name}); err != nil {
				return apiError(fmt.Sprintf("delete authorizer %q", name), err)
			}
			return report(cmd, authorizerView{Name: name}, "deleted authorizer %s", name)
		},
	}
}
