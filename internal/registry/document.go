package registry

import "github.com/berth-iot/berth/policy"

// checkDocument refuses what is not a policy document of AWS IoT's language and size.
func checkDocument(document []byte) error {
	if err := policy.CheckSize(document); err != nil {
		return refuse(ErrMalformedPolicy, "policy document: %v", err)
	}
	if _, err := policy.Parse(document); err != nil {
		return refuse(ErrMalformedPolicy, "policy document: %v", err)
	}
	return nil
}
