package admin

import (
	"maps"
	"slices"
	"strings"

	"github.com/berth-iot/berth/esp/nvs"
	"github.com/berth-iot/berth/esp/spiffs"
)

// spiffsFiles are the files of a partition, sorted, so that the same files make the same image.
func spiffsFiles(files map[string]string) (list []spiffs.File) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list, spiffs.File{Name: "/" + strings.TrimPrefix(name, "/"), Data: []byte(files[name])})
	}
	return list
}

func nvsEntries(files map[string]string) (list []nvs.Entry) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		space, key, _ := strings.Cut(name, "/")
		list = append(list, nvs.Entry{Namespace: space, Key: key, Value: files[name]})
	}
	return list
}
