package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"strings"
)

func readCAs(ctx context.Context, r *reader) (map[string]object, error) {
	all, err := r.pages(ctx, "ListCACertificates", args{"pageSize": 250}, "certificates")
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, x := range all {
		if o, ok := x.(object); ok {
			ids = append(ids, str(o, "certificateId"))
		}
	}
	return r.describe(ctx, ids, func(ctx context.Context, id string) (object, error) {
		out, err := r.call(ctx, "DescribeCACertificate", args{"caCertificateId": id})
		if err != nil {
			return nil, err
		}
		d := obj(out, "certificateDescription")
		o := pick(d, "certificatePem", "status", "autoRegistrationStatus", "certificateMode")
		if c := obj(out, "registrationConfig"); !empty(c) {
			o["registrationConfig"] = c
		}
		return r.tagged(ctx, o, str(d, "certificateArn"))
	})
}

// sameCA does not compare modes: see writeCA.
func sameCA(want, have object) bool {
	fields := func(o object) object {
		return pick(o, "status", "autoRegistrationStatus", "registrationConfig", "tags")
	}
	return equal(fields(want), fields(have))
}

// refuseCA finds what cannot be registered at all.
func refuseCA(_ *writer, _ string, want object) string {
	if str(want, "certificatePem") == "" {
		return "the source does not hand out its PEM: register it by hand, with berth ca register"
	}
	return ""
}

// writeCA registers an authority in mode SNI_ONLY, which wants no proof that one has its key. The mode
// DEFAULT would: a certificate that only the owner of the key can make.
func writeCA(ctx context.Context, w *writer, id string, want, have object) (string, error) {
	auto := "DISABLE"
	if str(want, "autoRegistrationStatus") == "ENABLE" {
		auto = "ENABLE"
	}
	config := obj(want, "registrationConfig")
	note := ""
	if have == nil {
		in := args{"caCertificate": str(want, "certificatePem"), "certificateMode": "SNI_ONLY",
			"?setAsActive": str(want, "status") == "ACTIVE", "?allowAutoRegistration": auto == "ENABLE"}
		if config != nil {
			in["registrationConfig"] = config
		}
		if _, err := w.call(ctx, "RegisterCACertificate", in); err != nil {
			return "", err
		}
		if str(want, "certificateMode") != "SNI_ONLY" {
			note = "registered in mode SNI_ONLY, whose devices must send the server's name in the handshake: for mode DEFAULT, " +
				"whoever has its key deletes it in the target and runs berth ca register CA.pem --key CA.key"
		}
	} else {
		in := args{"caCertificateId": id, "?newStatus": str(want, "status"), "?newAutoRegistrationStatus": auto}
		if config != nil {
			in["registrationConfig"] = config
		}
		if _, err := w.call(ctx, "UpdateCACertificate", in); err != nil {
			return "", err
		}
	}
	return note, w.tag(ctx, w.arn("cacert/"+id), want, have)
}

func readCertificates(ctx context.Context, r *reader) (map[string]object, error) {
	all, err := r.pages(ctx, "ListCertificates", args{"pageSize": 250}, "certificates")
	if err != nil {
		return nil, err
	}
	used := make(map[string]bool)
	if r.opts.Prefix != "" {
		attached, err := r.allPrincipals(ctx)
		if err != nil {
			return nil, err
		}
		for name := range attached {
			if _, id, ok := strings.Cut(name, ":cert/"); ok {
				used[id] = true
			}
		}
	}
	var ids []string
	for _, x := range all {
		if o, ok := x.(object); ok && (r.opts.Prefix == "" || used[str(o, "certificateId")]) {
			ids = append(ids, str(o, "certificateId"))
		}
	}
	found, err := r.describe(ctx, ids, func(ctx context.Context, id string) (object, error) {
		out, err := r.call(ctx, "DescribeCertificate", args{"certificateId": id})
		if err != nil {
			return nil, err
		}
		o := pick(obj(out, "certificateDescription"), "certificatePem", "status", "caCertificateId", "certificateMode")
		r.alias(id, str(o, "certificatePem"))
		return o, nil
	})
	named := make(map[string]object, len(found))
	for id, o := range found {
		named[r.fingerprint(id)] = o
	}
	return named, err
}

// alias remembers an identifier that is not the certificate's fingerprint.
func (a *Account) alias(id, certPEM string) {
	block, _ := pem.Decode([]byte(certPEM))
	if block == nil {
		return
	}
	sum := sha256.Sum256(block.Bytes)
	if print := hex.EncodeToString(sum[:]); print != id {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.fingerprints[id], a.identifiers[print] = print, id
	}
}

// fingerprint is what a certificate is called here that the account calls id.
func (a *Account) fingerprint(id string) string { return a.known(a.fingerprints, id) }

// identifier is what the account calls the certificate with a fingerprint.
func (a *Account) identifier(print string) string { return a.known(a.identifiers, print) }

func (a *Account) known(names map[string]string, id string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if other := names[id]; other != "" {
		return other
	}
	return id
}

// principal translates the certificate in an ARN of a principal.
func principal(arn string, translate func(id string) string) string {
	if start, id, ok := strings.Cut(arn, ":cert/"); ok {
		return start + ":cert/" + translate(id)
	}
	return arn
}

// registered is the status in which a certificate can be registered that has this one in the source.
func registered(status string) string {
	switch status {
	case "ACTIVE", "INACTIVE", "REVOKED", "PENDING_ACTIVATION":
		return status
	}
	return "INACTIVE"
}

func sameCertificate(want, have object) bool {
	return registered(str(want, "status")) == str(have, "status")
}

func refuseCertificate(_ *writer, _ string, want object) string {
	if str(want, "certificatePem") == "" {
		return "the source does not hand out its PEM: register it by hand with RegisterCertificateWithoutCA"
	}
	return ""
}

func remarkCertificate(want object) string {
	if s := str(want, "status"); registered(s) != s {
		return "it is " + s + " in the source and becomes INACTIVE: finish the transfer there first, or activate it here"
	}
	return ""
}

func writeCertificate(ctx context.Context, w *writer, id string, want, have object) (string, error) {
	status, text := registered(str(want, "status")), str(want, "certificatePem")
	note := remarkCertificate(want)
	if have != nil {
		_, err := w.call(ctx, "UpdateCertificate", args{"certificateId": w.identifier(id), "?newStatus": status})
		return note, err
	}
	first := status
	if status == "REVOKED" || status == "PENDING_ACTIVATION" {
		first = "INACTIVE" // not every implementation registers in these
	}
	// A certificate of a registered authority is registered with it, where the target knows it.
	done := false
	if ca := str(want, "caCertificateId"); ca != "" {
		out, err := w.call(ctx, "DescribeCACertificate", args{"caCertificateId": ca})
		if err == nil {
			out, err = w.call(ctx, "RegisterCertificate", args{"certificatePem": text, "status": first,
				"caCertificatePem": str(obj(out, "certificateDescription"), "certificatePem")})
			if done = err == nil; done {
				w.alias(str(out, "certificateId"), text)
			}
		}
	}
	if !done {
		out, err := w.call(ctx, "RegisterCertificateWithoutCA", args{"certificatePem": text, "status": first})
		if err != nil {
			return note, err
		}
		w.alias(str(out, "certificateId"), text)
	}
	if first == status {
		return note, nil
	}
	_, err := w.call(ctx, "UpdateCertificate", args{"certificateId": w.identifier(id), "?newStatus": status})
	if err != nil && status == "PENDING_ACTIVATION" {
		return "it is PENDING_ACTIVATION in the source and INACTIVE in the target, where nobody can set that by hand", nil
	}
	return note, err
}
