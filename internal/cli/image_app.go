package cli

import (
	"encoding/hex"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/esp/appimage"
)

func imageAppCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "app",
		Short:   "Application and bootloader images",
		Example: "  berth image app info build/firmware.bin",
		Args:    cobra.NoArgs,
	}
	return group(cmd, imageAppInfoCommand())
}

// imageApp is the output of app info.
type imageApp struct {
	Chip      string            `json:"chip"`
	ChipID    uint16            `json:"chipId"`
	MinRev    string            `json:"minChipRevision"`
	MaxRev    string            `json:"maxChipRevision,omitempty"`
	FlashMode string            `json:"flashMode"`
	FlashFreq string            `json:"flashFrequency"`
	FlashSize int               `json:"flashSize"`
	Entry     uint32            `json:"entry"`
	Length    int               `json:"length"`
	Segments  []imageAppSegment `json:"segments"`
	Checksum  string            `json:"checksum"`
	SHA256    string            `json:"sha256,omitempty"`
	Valid     bool              `json:"valid"`

	Description *imageAppDescription `json:"description,omitempty"`
	Bootloader  *imageAppBootloader  `json:"bootloader,omitempty"`
	Signatures  []imageAppSignature  `json:"signatures"`
}

type imageAppSegment struct {
	Address uint32 `json:"address"`
	Offset  int    `json:"offset"`
	Size    int    `json:"size"`
}

type imageAppDescription struct {
	Project       string `json:"project"`
	Version       string `json:"version"`
	IDFVersion    string `json:"idfVersion"`
	Built         string `json:"built"`
	ELFSHA256     string `json:"elfSha256"`
	SecureVersion uint32 `json:"secureVersion"`
}

type imageAppBootloader struct {
	Version       uint32 `json:"version"`
	IDFVersion    string `json:"idfVersion"`
	Built         string `json:"built"`
	SecureVersion uint8  `json:"secureVersion"`
}

type imageAppSignature struct {
	Scheme    string `json:"scheme"`
	KeyDigest string `json:"keyDigest"`
	Valid     bool   `json:"valid"`
	Error     string `json:"error,omitempty"`
}

func imageAppRevision(rev uint16) string { return fmt.Sprintf("v%d.%d", rev/100, rev%100) }

func imageAppOf(m *appimage.Image) imageApp {
	info := imageApp{
		Chip: m.Chip.String(), ChipID: uint16(m.Chip), MinRev: imageAppRevision(m.MinRev),
		FlashMode: m.Mode.String(), FlashFreq: m.Chip.Frequency(m.Frequency), FlashSize: m.FlashSize,
		Entry: m.Entry, Length: m.Length,
		Checksum: fmt.Sprintf("0x%02x", m.Checksum), SHA256: hex.EncodeToString(m.Hash), Valid: m.Verify() == nil,
		Segments: []imageAppSegment{}, Signatures: []imageAppSignature{},
	}
	if m.MaxRev != 0 && m.MaxRev != 0xFFFF {
		info.MaxRev = imageAppRevision(m.MaxRev)
	}
	for _, s := range m.Segments {
		info.Segments = append(info.Segments, imageAppSegment{s.Address, s.Offset, len(s.Data)})
	}
	if d := m.Description; d != nil {
		info.Description = &imageAppDescription{
			Project: d.ProjectName, Version: d.Version, IDFVersion: d.IDFVersion, Built: d.Date + " " + d.Time,
			ELFSHA256: hex.EncodeToString(d.ELFHash[:]), SecureVersion: d.SecureVersion,
		}
	}
	if b := m.Bootloader; b != nil {
		info.Bootloader = &imageAppBootloader{b.Version, b.IDFVersion, b.DateTime, b.SecureVersion}
	}
	for _, s := range m.Signatures {
		signature := imageAppSignature{Scheme: s.Scheme, KeyDigest: hex.EncodeToString(s.KeyDigest[:]), Valid: s.Err == nil}
		if s.Err != nil {
			signature.Error = s.Err.Error()
		}
		info.Signatures = append(info.Signatures, signature)
	}
	return info
}

func imageAppInfoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "info FILE",
		Short: "Print what an image is and for which chip, and check it",
		Long: `Print chip, version, segments and signatures of an application or bootloader
image, and check its checksum, its SHA-256 and its Secure Boot V2 signatures.`,
		Example: "  berth image app info build/firmware.bin",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := imageRead(args[0])
			if err != nil {
				return err
			}
			m, err := appimage.Decode(b)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			info := imageAppOf(m)
			if err := imagePrint(cmd, info, info.table); err != nil {
				return err
			}
			if err := m.Verify(); err != nil {
				return fmt.Errorf("%s: %s: build or download it again", args[0], imageLine(err.Error()))
			}
			return nil
		},
	}
}

func (a imageApp) table(w io.Writer) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, imageText(fmt.Sprintf(format, args...)))
	}
	line("chip", "%s", a.Chip)
	revisions := a.MinRev + " and newer"
	if a.MaxRev != "" {
		revisions = a.MinRev + " to " + a.MaxRev
	}
	line("chip revision", "%s", revisions)
	if d := a.Description; d != nil {
		line("project", "%s", d.Project)
		line("version", "%s", d.Version)
		line("ESP-IDF", "%s", d.IDFVersion)
		line("built", "%s", d.Built)
		line("secure version", "%d", d.SecureVersion)
		line("ELF SHA-256", "%s", d.ELFSHA256)
	}
	if b := a.Bootloader; b != nil {
		line("bootloader version", "%d", b.Version)
		line("ESP-IDF", "%s", b.IDFVersion)
		line("built", "%s", b.Built)
	}
	line("flash", "%s, %s, %d MiB", a.FlashMode, a.FlashFreq, a.FlashSize>>20)
	line("entry", "0x%08x", a.Entry)
	line("length", "%d", a.Length)
	for i, s := range a.Segments {
		line(fmt.Sprintf("segment %d", i+1), "0x%08x, %d bytes at 0x%x", s.Address, s.Size, s.Offset)
	}
	line("checksum", "%s", a.Checksum)
	if a.SHA256 != "" {
		line("SHA-256", "%s", a.SHA256)
	}
	if len(a.Signatures) == 0 {
		line("signature", "none")
	}
	for i, s := range a.Signatures {
		state := "valid"
		if s.Error != "" {
			state = s.Error
		}
		line(fmt.Sprintf("signature %d", i+1), "%s, key digest %s, %s", s.Scheme, s.KeyDigest, state)
	}
}
