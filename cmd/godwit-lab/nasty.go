package main

import "strings"

// nasty is mail that real mailboxes hold and copiers stumble over.
var nasty = []string{
	"x",
	"\r\n",
	"\r\n\r\nno header at all\r\n",
	"Subject: no body, no empty line",
	"Subject: no line end at the end\r\n\r\nlast line",
	"From someone Mon Jan  1 00:00:00 2001\r\nSubject: mbox line\r\n\r\n>From here\r\nFrom there\r\n",
	"Subject: dots\r\n\r\n.\r\n..\r\n.hidden\r\n",
	"Subject: raw \xe4\xf6\xfc latin-1\r\nFrom: J\xf6rg <j@example.org>\r\n\r\n\xc4\xd6\xdc\r\n",
	"Subject: raw grüße 🎉 utf-8\r\n\r\nÄÖÜ\r\n",
	"Subject: bad utf-8 \xc3\x28 \xff\xfe\r\n\r\n\xc3\x28\xff\xfe\r\n",
	"Subject: =?utf-8?B?broken\r\n\r\nencoded word\r\n",
	"Message-ID: <twice-1@example.org>\r\nMessage-ID: <twice-2@example.org>\r\nSubject: two IDs\r\n\r\nbody\r\n",
	"Message-ID:\r\n <folded@example.org>\r\nSubject: folded ID\r\n\r\nbody\r\n",
	"Message-ID: no brackets, \"quotes\" and \\ (comments)\r\nSubject: odd ID\r\n\r\nbody\r\n",
	"Message-ID: <>\r\nSubject: empty ID\r\n\r\nbody\r\n",
	"Message-ID: <" + strings.Repeat("long", 500) + "@example.org>\r\nSubject: long ID\r\n\r\nbody\r\n",
	"Subject: " + strings.Repeat("very long header ", 600) + "\r\n\r\nbody\r\n",
	"Subject: long line\r\n\r\n" + strings.Repeat("0123456789", 20000) + "\r\n",
	strings.Repeat("Received: from a.example by b.example; Thu, 1 Jan 2015 00:00:00 +0000\r\n", 1000) + "Subject: many hops\r\n\r\nbody\r\n",
	"To: " + strings.Repeat("\"Name, with comma\" <someone@example.org>,\r\n ", 2000) + "last@example.org\r\nSubject: many\r\n\r\nbody\r\n",
	"Date: yesterday, about noon\r\nSubject: odd date\r\n\r\nbody\r\n",
	"Date: Fri, 31 Dec 1899 23:59:60 -9999\r\nSubject: impossible date\r\n\r\nbody\r\n",
	"Header with spaces: yes\r\nno colon here\r\n: no name\r\nSubject: bad headers\r\n\r\nbody\r\n",
	"Subject: controls \x01\x07\x1b[31m\x7f\r\n\r\n\x01\x02\x1b]0;title\x07\r\n",
	"Subject: bare CR\r\n\r\none\rtwo\rthree\r\n",
	"Subject: trailing blanks   \r\n\r\nline \t \r\n\t\r\n \r\n",
	"Subject: many empty lines\r\n\r\n" + strings.Repeat("\r\n", 5000),
	"Subject: {42}\r\n\r\n{100+}\r\n* 1 FETCH (FLAGS (\\Seen))\r\nt1 OK done\r\n)\r\n",
	"Content-Type: multipart/mixed\r\nSubject: no boundary\r\n\r\n--x\r\n\r\nbody\r\n",
	"Content-Type: multipart/mixed; boundary=x\r\nSubject: never closed\r\n\r\n--x\r\n\r\nbody\r\n--x\r\nContent-Type: image/png",
	"Content-Type: multipart/mixed; boundary=\"\"\r\nSubject: empty boundary\r\n\r\n--\r\n\r\nbody\r\n----\r\n",
	"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\nSubject: bad base64\r\n\r\n====%%%%\r\n",
	"Content-Type: text/plain; charset=no-such-charset\r\nContent-Transfer-Encoding: x-unknown\r\nSubject: unknown\r\n\r\nbody\r\n",
	"Content-Type: text/calendar; method=REQUEST\r\nSubject: invite\r\n\r\nBEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n",
	"Content-Type: application/ms-tnef; name=winmail.dat\r\nSubject: TNEF\r\n\r\n\x78\x9f\x3e\x22\x01\x02\r\n",
	"Content-Type: multipart/signed; protocol=\"application/pgp-signature\"; micalg=pgp-sha256; boundary=s\r\nSubject: signed\r\n\r\n" +
		"--s\r\nContent-Type: text/plain\r\n\r\nevery octet counts  \r\n--s\r\nContent-Type: application/pgp-signature\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\n--s--\r\n",
	nested(40),
}

// nested is a message in a message in a message.
func nested(levels int) string {
	return strings.Repeat("Content-Type: message/rfc822\r\nSubject: level\r\n\r\n", levels) + "Subject: innermost\r\n\r\nbody\r\n"
}
