package mailbox

import (
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// What servers and clients call the folders of special use, where nothing else
// tells of it: in English, German, French, Spanish, Italian, Portuguese, Dutch
// and Polish. The first name of a use goes before the others.
var specialNames = []struct {
	use   string
	names string // between commas
}{
	{`\sent`, "sent,sent items,sent messages,sent mail," +
		"gesendet,gesendete elemente,gesendete objekte,gesendete nachrichten," +
		"éléments envoyés,envoyés,messages envoyés,courrier envoyé," +
		"enviados,elementos enviados,mensajes enviados,correo enviado," +
		"posta inviata,inviata,inviati,messaggi inviati,elementi inviati," +
		"itens enviados,enviadas,mensagens enviadas,correio enviado," +
		"verzonden items,verzonden,verzonden berichten," +
		"elementy wysłane,wysłane,wysłane wiadomości"},
	{`\drafts`, "drafts,draft,entwürfe,brouillons,borradores,bozze,rascunhos,concepten,wersje robocze,kopie robocze,szkice"},
	{`\trash`, "trash,deleted items,deleted messages,bin," +
		"papierkorb,gelöschte elemente,gelöschte objekte," +
		"corbeille,éléments supprimés,messages supprimés," +
		"papelera,elementos eliminados,papelera de reciclaje," +
		"cestino,posta eliminata,elementi eliminati," +
		"lixeira,lixo,itens excluídos,itens eliminados," +
		"prullenbak,verwijderde items,kosz,elementy usunięte"},
	{`\junk`, "junk,junk e-mail,junk email,junk mail,spam,bulk mail," +
		"junk-e-mail,unerwünschte werbung,courrier indésirable,indésirables,pourriel," +
		"correo no deseado,correo basura,posta indesiderata," +
		"lixo eletrônico,lixo eletrónico,lixo electrónico,correio não solicitado," +
		"ongewenste e-mail,ongewenste reclame,wiadomości-śmieci,niechciana poczta"},
	{`\archive`, "archive,archives,archiv,archivo,archivio,arquivo,archief,archiwum"},
}

// guessSpecial finds the folders of special use by their names, for each use
// that the server tells of no folder.
func guessSpecial(list []listed) {
	for _, s := range specialNames {
		if slices.ContainsFunc(list, func(l listed) bool { return l.special == s.use }) {
			continue
		}
		names, best := strings.Split(s.names, ","), -1
		for i, l := range list {
			if len(l.path) != 1 || l.noselect || l.foreign || l.special != "" {
				continue
			}
			at := slices.Index(names, strings.ToLower(norm.NFC.String(l.path[0])))
			if at >= 0 && (best < 0 || at < slices.Index(names, strings.ToLower(norm.NFC.String(list[best].path[0])))) {
				best = i
			}
		}
		if best >= 0 {
			list[best].special = s.use
		}
	}
}

// xlist asks what LIST does not tell on servers older than RFC 6154, such as
// Zimbra. A refusal is no answer.
func (s *session) xlist(list []listed) error {
	uses := map[string]string{}
	_, err := s.w.do(`XLIST "" "*"`, &exchange{flood: 2*maxFolders + flood, on: func(r *response) {
		if l, _, ok := listOf(r, "XLIST"); ok && l.special != "" {
			uses[l.wire] = l.special
		}
	}})
	if _, no := refused(err); err != nil && !no {
		return err
	}
	for i, l := range list {
		if l.special == "" {
			list[i].special = uses[l.wire]
		}
	}
	return nil
}

// mapAll maps the folders, and again where the target turns out to be one
// that does not tell "Case" from "case".
func (r *pass) mapAll(dst *session, wanted []listed, kept map[string]string) ([]mapping, error) {
	r.place.anyCase = r.place.anyCase || dst.folds()
	out := mapFolders(wanted, r.place, kept, r.Options.Rename)
	if r.place.anyCase || !onlyCase(r.place, out) {
		return out, nil
	}
	var err error
	if r.place.anyCase, err = dst.foldsCase(r.place); err != nil || !r.place.anyCase {
		return out, err
	}
	return mapFolders(wanted, r.place, kept, r.Options.Rename), nil
}

// onlyCase tells whether folders of the target, those that are there and those
// that are wanted, differ in nothing but case.
func onlyCase(p place, wanted []mapping) bool {
	p.anyCase = true
	seen := map[string]string{}
	differ := func(wire string) bool {
		k := p.key(wire)
		was, ok := seen[k]
		seen[k] = wire
		return ok && was != wire
	}
	for _, l := range p.existing {
		if differ(l.wire) {
			return true
		}
	}
	return slices.ContainsFunc(wanted, func(m mapping) bool { return differ(m.target) })
}

// foldsCase finds out whether the server takes names that differ only in case
// for one folder, by asking for one that it has, in another case.
func (s *session) foldsCase(p place) (bool, error) {
	for _, l := range p.existing {
		if l.wire == "INBOX" || l.noselect || l.foreign || l.box.validity == 0 {
			continue
		}
		other := slices.Clone(l.path)
		last := len(other) - 1
		other[last] = swapCase(other[last])
		wire := p.space.join(other)
		q, ok := quote(wire)
		if wire == l.wire || !ok || slices.ContainsFunc(p.existing, func(l listed) bool { return l.wire == wire }) {
			continue
		}
		same := false
		_, err := s.w.do("STATUS "+q+" (UIDVALIDITY)", &exchange{on: func(r *response) {
			b, ok := statusOf(r)
			same = same || ok && b.validity == l.box.validity
		}})
		if _, no := refused(err); err != nil && !no {
			return false, err
		}
		return same, nil
	}
	return false, nil
}

// swapCase changes the case of ASCII letters, which all servers agree on.
func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r ^ ' '
		}
		return r
	}, s)
}
