package rules

// sealedMark begins what is sealed; JSON, which earlier versions stored, never begins with it.
const sealedMark = 0

// deliveryLabel is whose secret a delivery is: it gets its number later.
const deliveryLabel = "rule delivery"

func ruleLabel(name string) string { return "rule " + name }

// seal makes of JSON what is stored.
func (s *Service) seal(label string, plain []byte) []byte {
	if s.cfg.Seal == nil {
		return plain
	}
	return append([]byte{sealedMark}, s.cfg.Seal(label, plain)...)
}

// unseal is the reverse of seal. It takes JSON as it is; plain says that it was.
func (s *Service) unseal(label string, stored []byte) (b []byte, plain bool, err error) {
	if len(stored) == 0 || stored[0] != sealedMark || s.cfg.Unseal == nil {
		return stored, true, nil
	}
	b, err = s.cfg.Unseal(label, stored[1:])
	return b, false, err
}
