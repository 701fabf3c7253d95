// Package vault makes temporary passwords and keeps them sealed.
//
// Every batch has a random key in a file of its own beside the ledger (0600), or
// one derived from GODWIT_KEY; the ledger holds only what was sealed with it
// (AES-256-GCM, bound to batch and account). Destroying the key destroys every
// copy of the batch's passwords that Godwit holds.
package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

const keySize = 32

var (
	// ErrClosed means that the batch's key was destroyed by report --close.
	ErrClosed = errors.New("the batch is closed: its key and its passwords are gone")
	// ErrSealed means that what was sealed cannot be opened with the batch's key.
	ErrSealed = errors.New("a sealed password does not fit the batch's key")
)

// Vault seals and opens passwords. It may be used by many at once.
type Vault struct {
	dir, plan string
	master    []byte
	mu        sync.Mutex
}

// Open returns the vault of a plan whose keys lie in dir. master is the value
// of GODWIT_KEY: 32 bytes in base64, or empty for key files.
func Open(dir, plan, master string) (*Vault, error) {
	v := &Vault{dir: dir, plan: plan}
	if master == "" {
		return v, nil
	}
	key, err := base64.StdEncoding.DecodeString(master)
	if err != nil || len(key) != keySize {
		return nil, errors.New("GODWIT_KEY is not 32 bytes in base64; make one with: head -c 32 /dev/urandom | base64")
	}
	v.master = key
	return v, nil
}

// Seal returns password sealed for the batch's account.
func (v *Vault) Seal(batch, account, password string) ([]byte, error) {
	box, err := v.box(batch, true)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, box.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return box.Seal(nonce, nonce, []byte(password), v.bound(batch, account)), nil
}

// Reveal opens what Seal returned. Errors: ErrClosed, ErrSealed.
func (v *Vault) Reveal(batch, account string, sealed []byte) (string, error) {
	box, err := v.box(batch, false)
	if err != nil {
		return "", err
	}
	if len(sealed) < box.NonceSize() {
		return "", ErrSealed
	}
	nonce, text := sealed[:box.NonceSize()], sealed[box.NonceSize():]
	plain, err := box.Open(nil, nonce, text, v.bound(batch, account))
	if err != nil {
		return "", ErrSealed
	}
	return string(plain), nil
}

// Mark is a keyed digest of data: it tells whether a list has changed without
// telling anything about it.
func (v *Vault) Mark(batch string, data []byte) ([]byte, error) {
	key, err := v.key(batch, true)
	if err != nil {
		return nil, err
	}
	m := hmac.New(sha256.New, key)
	m.Write([]byte("mark\x00"))
	m.Write(data)
	return m.Sum(nil), nil
}

// Destroy deletes the batch's key; an empty file says that there was one.
func (v *Vault) Destroy(batch string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.master != nil {
		return errors.New("the key comes from GODWIT_KEY: take it away there")
	}
	f, err := os.OpenFile(v.file(batch), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, keySize), 0)
	return errors.Join(err, f.Sync(), f.Truncate(0), f.Sync(), f.Close())
}

func (v *Vault) bound(batch, account string) []byte {
	return []byte(v.plan + "\x00" + batch + "\x00" + account)
}

func (v *Vault) file(batch string) string {
	return filepath.Join(v.dir, v.plan+"."+batch+".key")
}

func (v *Vault) box(batch string, create bool) (cipher.AEAD, error) {
	key, err := v.key(batch, create)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (v *Vault) key(batch string, create bool) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.master != nil {
		return hkdf.Key(sha256.New, v.master, nil, "godwit "+v.plan+" "+batch, keySize)
	}
	key, err := os.ReadFile(v.file(batch))
	switch {
	case errors.Is(err, fs.ErrNotExist) && create:
		return v.make(batch)
	case err != nil:
		return nil, err
	case len(key) == 0:
		return nil, ErrClosed
	case len(key) != keySize:
		return nil, fmt.Errorf("%s is not a key of Godwit", v.file(batch))
	}
	return key, nil
}

// make writes a new key whole or not at all, and never over another one.
func (v *Vault) make(batch string) ([]byte, error) {
	key := make([]byte, keySize)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(v.dir, ".key-*") // 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(key)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	if err := os.Link(f.Name(), v.file(batch)); err != nil {
		return nil, err
	}
	dir, err := os.Open(v.dir)
	if err != nil {
		return nil, err
	}
	return key, errors.Join(dir.Sync(), dir.Close())
}
