// Package iotpackages holds the operations on the software package catalogue.
package iotpackages

import (
	"context"
	"errors"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/packages"
)

type plane struct{ catalogue *packages.Catalogue }

// Operations returns the handlers.
func Operations(c *packages.Catalogue) awsapi.Set {
	p := &plane{c}
	handlers := map[string]awsapi.Handler{
		"CreatePackage": p.create,
		"GetPackage":    p.get,
		"UpdatePackage": p.update,
		"DeletePackage": p.delete,
		"ListPackages":  p.list,

		"CreatePackageVersion": p.createVersion,
		"GetPackageVersion":    p.getVersion,
		"UpdatePackageVersion": p.updateVersion,
		"DeletePackageVersion": p.deleteVersion,
		"ListPackageVersions":  p.listVersions,

		"GetPackageConfiguration":    p.getConfiguration,
		"UpdatePackageConfiguration": p.updateConfiguration,
	}
	for name, h := range handlers {
		handlers[name] = func(ctx context.Context, req *awsapi.Request) (any, error) {
			answer, err := h(ctx, req)
			if err != nil {
				return nil, exception(err)
			}
			return answer, nil
		}
	}
	return awsapi.Set{Service: awsapi.IoT, Handlers: handlers, Exception: exception}
}

func exception(err error) error {
	resource := ""
	if refusal := (*packages.Error)(nil); errors.As(err, &refusal) {
		resource = refusal.Resource
	}
	for _, x := range []struct {
		kind   error
		name   string
		status int
	}{
		{packages.ErrInvalid, "ValidationException", 400},
		{packages.ErrNotFound, "ResourceNotFoundException", 404},
		{packages.ErrConflict, "ConflictException", 409},
	} {
		if errors.Is(err, x.kind) {
			return &awsapi.Error{Type: x.name, Status: x.status, Message: err.Error(), ResourceID: resource}
		}
	}
	if e := (*awsapi.Error)(nil); errors.As(err, &e) && e.Type == "InvalidRequestException" {
		e.Type = "ValidationException"
	}
	return err
}

type empty struct{}

func page(req *awsapi.Request) (packages.Page, error) {
	n, err := req.Int("maxResults")
	p := packages.Page{Token: req.Query("nextToken")}
	if n != nil {
		if p.Limit = int(*n); *n < 1 || *n > packages.MaxPage {
			p.Limit = -1 // refused by the listing
		}
	}
	return p, err
}

func (p *plane) create(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Description string `json:"description"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	v, err := p.catalogue.CreatePackage(ctx, req.Path("packageName"), in.Description, req.Query("clientToken"))
	if err != nil {
		return nil, err
	}
	return struct {
		Name        string `json:"packageName"`
		ARN         string `json:"packageArn"`
		Description string `json:"description,omitempty"`
	}{v.Name, v.ARN, v.Description}, nil
}

func (p *plane) get(ctx context.Context, req *awsapi.Request) (any, error) {
	v, err := p.catalogue.GetPackage(ctx, req.Path("packageName"))
	if err != nil {
		return nil, err
	}
	return struct {
		Name        string      `json:"packageName"`
		ARN         string      `json:"packageArn"`
		Description string      `json:"description,omitempty"`
		Default     string      `json:"defaultVersionName,omitempty"`
		Created     awsapi.Time `json:"creationDate"`
		Modified    awsapi.Time `json:"lastModifiedDate"`
	}{v.Name, v.ARN, v.Description, v.Default, awsapi.Time(v.Created), awsapi.Time(v.Modified)}, nil
}

func (p *plane) update(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Description *string `json:"description"`
		Default     *string `json:"defaultVersionName"`
		Unset       bool    `json:"unsetDefaultVersion"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return empty{}, p.catalogue.UpdatePackage(ctx, req.Path("packageName"), packages.PackageUpdate{Description: in.Description, Default: in.Default, UnsetDefault: in.Unset})
}

func (p *plane) delete(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.catalogue.DeletePackage(ctx, req.Path("packageName"))
}

func (p *plane) list(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	list, next, err := p.catalogue.ListPackages(ctx, page)
	if err != nil {
		return nil, err
	}
	type summary struct {
		Name     string      `json:"packageName"`
		Default  string      `json:"defaultVersionName,omitempty"`
		Created  awsapi.Time `json:"creationDate"`
		Modified awsapi.Time `json:"lastModifiedDate"`
	}
	out := struct {
		Packages []summary `json:"packageSummaries"`
		Next     string    `json:"nextToken,omitempty"`
	}{[]summary{}, next}
	for _, v := range list {
		out.Packages = append(out.Packages, summary{v.Name, v.Default, awsapi.Time(v.Created), awsapi.Time(v.Modified)})
	}
	return out, nil
}

// version is what a request says of a version.
type version struct {
	Description *string            `json:"description"`
	Attributes  map[string]string  `json:"attributes"`
	Artifact    *packages.Artifact `json:"artifact"`
	Recipe      *string            `json:"recipe"`
	Action      packages.Action    `json:"action"`
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (p *plane) createVersion(ctx context.Context, req *awsapi.Request) (any, error) {
	var in version
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	v, err := p.catalogue.CreatePackageVersion(ctx, packages.Version{Package: req.Path("packageName"), Name: req.Path("versionName"), Description: text(in.Description),
		Attributes: in.Attributes, Artifact: in.Artifact, Recipe: text(in.Recipe)}, req.Query("clientToken"))
	if err != nil {
		return nil, err
	}
	return struct {
		ARN         string            `json:"packageVersionArn"`
		Package     string            `json:"packageName"`
		Name        string            `json:"versionName"`
		Description string            `json:"description,omitempty"`
		Attributes  map[string]string `json:"attributes,omitempty"`
		Status      packages.Status   `json:"status"`
	}{v.ARN, v.Package, v.Name, v.Description, v.Attributes, v.Status}, nil
}

func (p *plane) getVersion(ctx context.Context, req *awsapi.Request) (any, error) {
	v, err := p.catalogue.GetPackageVersion(ctx, req.Path("packageName"), req.Path("versionName"))
	if err != nil {
		return nil, err
	}
	return struct {
		ARN         string             `json:"packageVersionArn"`
		Package     string             `json:"packageName"`
		Name        string             `json:"versionName"`
		Description string             `json:"description,omitempty"`
		Attributes  map[string]string  `json:"attributes,omitempty"`
		Artifact    *packages.Artifact `json:"artifact,omitempty"`
		Recipe      string             `json:"recipe,omitempty"`
		Status      packages.Status    `json:"status"`
		Created     awsapi.Time        `json:"creationDate"`
		Modified    awsapi.Time        `json:"lastModifiedDate"`
	}{v.ARN, v.Package, v.Name, v.Description, v.Attributes, v.Artifact, v.Recipe, v.Status, awsapi.Time(v.Created), awsapi.Time(v.Modified)}, nil
}

func (p *plane) updateVersion(ctx context.Context, req *awsapi.Request) (any, error) {
	var in version
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return empty{}, p.catalogue.UpdatePackageVersion(ctx, req.Path("packageName"), req.Path("versionName"), packages.VersionUpdate(in))
}

func (p *plane) deleteVersion(ctx context.Context, req *awsapi.Request) (any, error) {
	return empty{}, p.catalogue.DeletePackageVersion(ctx, req.Path("packageName"), req.Path("versionName"))
}

func (p *plane) listVersions(ctx context.Context, req *awsapi.Request) (any, error) {
	page, err := page(req)
	if err != nil {
		return nil, err
	}
	list, next, err := p.catalogue.ListPackageVersions(ctx, req.Path("packageName"), packages.Status(req.Query("status")), page)
	if err != nil {
		return nil, err
	}
	type summary struct {
		Package  string          `json:"packageName"`
		Name     string          `json:"versionName"`
		Status   packages.Status `json:"status"`
		Created  awsapi.Time     `json:"creationDate"`
		Modified awsapi.Time     `json:"lastModifiedDate"`
	}
	out := struct {
		Versions []summary `json:"packageVersionSummaries"`
		Next     string    `json:"nextToken,omitempty"`
	}{[]summary{}, next}
	for _, v := range list {
		out.Versions = append(out.Versions, summary{v.Package, v.Name, v.Status, awsapi.Time(v.Created), awsapi.Time(v.Modified)})
	}
	return out, nil
}

func (p *plane) getConfiguration(ctx context.Context, _ *awsapi.Request) (any, error) {
	c, err := p.catalogue.GetPackageConfiguration(ctx)
	return struct {
		Jobs packages.Configuration `json:"versionUpdateByJobsConfig"`
	}{c}, err
}

func (p *plane) updateConfiguration(ctx context.Context, req *awsapi.Request) (any, error) {
	var in struct {
		Jobs struct {
			Enabled *bool   `json:"enabled"`
			Role    *string `json:"roleArn"`
		} `json:"versionUpdateByJobsConfig"`
	}
	if err := req.Decode(&in); err != nil {
		return nil, err
	}
	return empty{}, p.catalogue.UpdatePackageConfiguration(ctx, in.Jobs.Enabled, in.Jobs.Role)
}
