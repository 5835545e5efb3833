//go:build !unix

package hostport

// groupOf returns nothing: devices have no group here.
func groupOf(string) string { return "" }
