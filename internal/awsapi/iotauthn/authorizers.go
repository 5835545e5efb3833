package iotauthn

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/authorizer"
	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/redaction"
)

type nameAndARN struct {
	Name string `json:"authorizerName"`
	ARN  string `json:"authorizerArn"`
}

func named(a *authorizer.Authorizer, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return nameAndARN{a.Name, a.ARN}, nil
}

func (p *plane) createAuthorizer(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Function        *string           `json:"authorizerFunctionArn"`
		TokenKeyName    string            `json:"tokenKeyName"`
		PublicKeys      map[string]string `json:"tokenSigningPublicKeys"`
		Status          string            `json:"status"`
		SigningDisabled bool              `json:"signingDisabled"`
		CacheHTTP       bool              `json:"enableCachingForHttp"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Function == nil {
		return nil, awsapi.Missing("authorizerFunctionArn")
	}
	return named(p.Authorizers.Create(ctx, authorizer.Authorizer{Name: req.Path("authorizerName"), Function: *in.Function, TokenKeyName: in.TokenKeyName,
		PublicKeys: in.PublicKeys, Status: in.Status, SigningDisabled: in.SigningDisabled, CacheHTTP: in.CacheHTTP}))
}

func (p *plane) updateAuthorizer(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Function     *string           `json:"authorizerFunctionArn"`
		TokenKeyName *string           `json:"tokenKeyName"`
		PublicKeys   map[string]string `json:"tokenSigningPublicKeys"`
		Status       *string           `json:"status"`
		CacheHTTP    *bool             `json:"enableCachingForHttp"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return named(p.Authorizers.Update(ctx, req.Path("authorizerName"), authorizer.Update{Function: in.Function, TokenKeyName: in.TokenKeyName,
		PublicKeys: in.PublicKeys, Status: in.Status, CacheHTTP: in.CacheHTTP}))
}

func described(req *awsapi.Request, a *authorizer.Authorizer, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	function := a.Function
	if req.Caller.Role != awsapi.RoleAdmin { // a URL may hold a password
		function, _ = redaction.Value(function).(string)
	}
	type description struct {
		nameAndARN
		Function        string            `json:"authorizerFunctionArn"`
		TokenKeyName    string            `json:"tokenKeyName,omitempty"`
		PublicKeys      map[string]string `json:"tokenSigningPublicKeys,omitempty"`
		Status          string            `json:"status"`
		Created         awsapi.Time       `json:"creationDate"`
		Modified        awsapi.Time       `json:"lastModifiedDate"`
		SigningDisabled bool              `json:"signingDisabled"`
		CacheHTTP       bool              `json:"enableCachingForHttp"`
	}
	return struct {
		Description description `json:"authorizerDescription"`
	}{description{nameAndARN{a.Name, a.ARN}, function, a.TokenKeyName, a.PublicKeys, a.Status, awsapi.Time(a.Created), awsapi.Time(a.Modified), a.SigningDisabled, a.CacheHTTP}}, nil
}

func (p *plane) describeAuthorizer(_ context.Context, req *awsapi.Request) (any, error) {
	a, err := p.Authorizers.Describe(req.Path("authorizerName"))
	return described(req, a, err)
}

func (p *plane) deleteAuthorizer(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.Authorizers.Delete(ctx, req.Path("authorizerName"))
}

func (p *plane) listAuthorizers(_ context.Context, req *awsapi.Request) (any, error) {
	page, err := req.Page("pageSize", "marker")
	if err != nil {
		return nil, err
	}
	ascending, err := req.Bool("isAscendingOrder", true)
	if err != nil {
		return nil, err
	}
	list, next, err := p.Authorizers.List(req.Query("status"), !ascending, page)
	if err != nil {
		return nil, err
	}
	out := struct {
		Authorizers []nameAndARN `json:"authorizers"`
		NextMarker  string       `json:"nextMarker,omitempty"`
	}{make([]nameAndARN, len(list)), next}
	for i, a := range list {
		out.Authorizers[i] = nameAndARN{a.Name, a.ARN}
	}
	return out, nil
}

func (p *plane) setDefaultAuthorizer(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Name *string `json:"authorizerName"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	if in.Name == nil {
		return nil, awsapi.Missing("authorizerName")
	}
	return named(p.Authorizers.SetDefault(ctx, *in.Name))
}

func (p *plane) describeDefaultAuthorizer(_ context.Context, req *awsapi.Request) (any, error) {
	a, err := p.Authorizers.Default()
	return described(req, a, err)
}

func (p *plane) clearDefaultAuthorizer(ctx context.Context, _ *awsapi.Request) (any, error) {
	return empty{}, p.Authorizers.ClearDefault(ctx)
}

func (p *plane) testInvokeAuthorizer(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Token     string `json:"token"`
		Signature string `json:"tokenSignature"`
		HTTP      *struct {
			Headers map[string]string `json:"headers"`
			Query   string            `json:"queryString"`
		} `json:"httpContext"`
		MQTT *struct {
			UserName string `json:"username"`
			Password []byte `json:"password"`
			ClientID string `json:"clientId"`
		} `json:"mqttContext"`
		TLS *struct {
			ServerName string `json:"serverName"`
		} `json:"tlsContext"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	var r authorizer.Request
	if in.HTTP != nil {
		r.HTTP = &authorizer.HTTP{Headers: make(map[string]string), Query: strings.TrimPrefix(in.HTTP.Query, "?")}
		for name, value := range in.HTTP.Headers {
			r.HTTP.Headers[strings.ToLower(name)] = value
		}
	}
	if in.MQTT != nil {
		r.MQTT = &authorizer.MQTT{UserName: in.MQTT.UserName, Password: in.MQTT.Password, ClientID: in.MQTT.ClientID}
	}
	if in.TLS != nil {
		r.TLS, r.ServerName = true, in.TLS.ServerName
	}
	d, err := p.Authorizers.Test(ctx, req.Path("authorizerName"), in.Token, in.Signature, &r)
	switch {
	case errors.Is(err, authorizer.ErrCredentials):
		return nil, awsapi.Invalid("%v", err)
	case errors.Is(err, authorizer.ErrBusy):
		return nil, &awsapi.Error{Type: "ThrottlingException", Status: http.StatusBadRequest, Message: err.Error()}
	case errors.Is(err, authorizer.ErrFailed):
		return nil, &awsapi.Error{Type: "InvalidResponseException", Status: http.StatusBadRequest, Message: err.Error()}
	case err != nil:
		return nil, err
	}
	documents := d.Documents
	if documents == nil {
		documents = []string{}
	}
	return struct {
		Authenticated bool     `json:"isAuthenticated"`
		PrincipalID   string   `json:"principalId,omitempty"`
		Documents     []string `json:"policyDocuments"`
		Refresh       int64    `json:"refreshAfterInSeconds"`
		Disconnect    int64    `json:"disconnectAfterInSeconds"`
	}{d.Authenticated, d.PrincipalID, documents, int64(d.Refresh / time.Second), int64(d.Disconnect / time.Second)}, nil
}
