package sqlite

import (
	"fmt"
	"path/filepath"
	"syscall"
)

// networks are file systems on which SQLite's locks and WAL do not hold
// (statfs(2), linux/magic.h).
var networks = map[int64]string{
	0x6969:     "NFS",
	0xff534d42: "CIFS",
	0xfe534d42: "SMB2",
	0x65735546: "FUSE",
	0x01021997: "9p",
}

func refuseNetwork(file string) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(file), &fs); err != nil {
		return fmt.Errorf("%s: %w", filepath.Dir(file), err)
	}
	if name := networks[int64(fs.Type)]; name != "" {
		return fmt.Errorf("%s lies on a %s file system, where a ledger can be damaged; choose an output.dir on a local disk", file, name)
	}
	return nil
}
