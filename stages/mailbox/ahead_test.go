package mailbox_test

import (
	"fmt"
	"strings"
	"testing"

	"godwit/stages/mailbox"
)

// TestAnswersThatMix proves that a message belongs to the FETCH that asked for
// it, also where a server answers two of them at once.
func TestAnswersThatMix(t *testing.T) {
	s := &script{}
	for uid := range 60 { // two groups
		s.messages = append(s.messages, plainMessage(uid+1))
	}
	first, end := "", "" // of the FETCH that is held back
	s.say = func(s *script, command string) (answer string, handled, hangUp bool) {
		list, body := s.isBody(command)
		if !body || len(list) == 0 || end == "said" {
			return "", false, false
		}
		var b strings.Builder
		for _, m := range list {
			fmt.Fprintf(&b, "* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n", m.uid, m.uid, len(m.body), m.body)
		}
		if end == "" { // the first is kept until the second has come
			first, end = b.String(), s.tag+" OK done\r\n"
			return "", true, false
		}
		answer, end = b.String()+"TAG OK done\r\n"+first+end, "said"
		return answer, true, false
	}
	p := mailbox.Pass{Source: s.start(t), Target: startMemory(t, modern...).account(t), Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1}}
	if res := run(t, p); res.Copied != 60 || len(res.Skipped) > 0 {
		t.Errorf("got %+v", res)
	}
	for _, command := range s.told() {
		if list, body := s.isBody(command); body && len(list) == 1 {
			t.Errorf("asked for again, singly: %s", command)
		}
	}
}
