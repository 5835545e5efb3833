// Package docs holds berth's documentation, so that the console can show it. It has no code.
package docs

import "embed"

//go:generate go run ./gen ..

// Files are the pages and pictures, by their path below this folder.
//
//go:embed *.md *.svg */*.md */*.svg
var Files embed.FS
