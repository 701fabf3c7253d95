package mailbox

import (
	"bytes"
	"regexp"
)

// notice is what stands in a message instead.
const notice = "the source gives a notice instead of the message"

// mostNotice is more than any such notice is long.
const mostNotice = 64 << 10

var folding = regexp.MustCompile(`\r?\n[ \t]+`)

// isPlaceholder recognizes the notice that Exchange gives, with an OK, instead
// of a message that it cannot convert. Its subject is folded by some versions.
func isPlaceholder(body []byte) bool {
	if len(body) > mostNotice {
		return false
	}
	head, _, _ := bytes.Cut(body, []byte("\r\n\r\n"))
	if !bytes.Contains(head, []byte("Retrieval")) { // whatever was folded: that is quick
		return false
	}
	head = folding.ReplaceAll(head, []byte(" "))
	return bytes.Contains(head, []byte("Subject: Retrieval using the IMAP4 protocol failed for the following message"))
}
