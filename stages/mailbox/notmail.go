package mailbox

import (
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// NotMail is the reason of folders that Exchange lists among those with mail and
// that hold something else: appointments, contacts, tasks, notes, logs of its
// own. Some end the session when they are opened, and what they give is a notice
// instead of a message.
const NotMail Reason = "not-mail"

// What Exchange calls its own folders at the top, by the language of the
// mailbox: those for mail and those that are not. Names are unique there,
// whatever the case, so a folder with such a name is Exchange's; in a mailbox of
// another language it may be a user's own.
var exchangeNames = []struct {
	mail    string // between commas
	notMail string
}{
	{
		"sent items,deleted items,drafts,junk email,junk e-mail",
		"calendar,contacts,suggested contacts,tasks,notes,journal,outbox",
	},
	{
		"gesendete elemente,gelöschte elemente,entwürfe,junk-e-mail",
		"kalender,kontakte,vorgeschlagene kontakte,aufgaben,notizen,journal,postausgang",
	},
	{
		"éléments envoyés,éléments supprimés,brouillons,courrier indésirable",
		"calendrier,contacts,contacts suggérés,tâches,notes,journal,boîte d'envoi",
	},
	{
		"elementos enviados,elementos eliminados,borradores,correo no deseado,correo electrónico no deseado",
		"calendario,contactos,contactos sugeridos,tareas,notas,diario,bandeja de salida", //nolint:misspell // Spanish
	},
	{
		"posta inviata,posta eliminata,bozze,posta indesiderata",
		"calendario,contatti,contatti suggeriti,attività,note,diario,posta in uscita",
	},
	{
		"itens enviados,itens eliminados,itens excluídos,rascunhos,lixo eletrônico,lixo eletrónico,correio eletrónico de lixo",
		"calendário,contatos,contactos,contatos sugeridos,contactos sugeridos,tarefas,notas,anotações,diário,caixa de saída,a enviar", //nolint:misspell // Portuguese
	},
	{
		"verzonden items,verwijderde items,concepten,ongewenste e-mail",
		"agenda,contactpersonen,voorgestelde contactpersonen,taken,notities,logboek,postvak uit",
	},
	{
		"elementy wysłane,elementy usunięte,wersje robocze,kopie robocze,wiadomości-śmieci",
		"kalendarz,kontakty,sugerowane kontakty,zadania,notatki,dziennik,skrzynka nadawcza",
	},
}

// exchangeLogs are not for mail in whatever language the mailbox is.
//
//nolint:misspell // other languages
var exchangeLogs = strings.Split("sync issues,synchronisierungsprobleme,problèmes de synchronisation,problemas de sincronización,"+
	"problemi di sincronizzazione,problemas de sincronização,synchronisatieproblemen,problemy z synchronizacją,"+
	"conversation history,aufgezeichnete unterhaltungen,historique des conversations,historial de conversaciones,cronologia conversazioni,"+
	"histórico de conversas,histórico de conversações,gespreksgeschiedenis,historia konwersacji,"+
	"rss feeds,rss subscriptions,rss-feeds,flux rss,fuentes rss,feed rss,rss-kanały,kanały informacyjne rss,"+
	"conversation action settings,quick step settings", ",")

// markNotMail marks the folders of Exchange that are not for mail, with those
// below them.
func markNotMail(list []listed) {
	names := slices.Concat(notMailNames(list), exchangeLogs)
	for i, l := range list {
		if len(l.path) > 0 && !l.foreign {
			list[i].notMail = slices.Contains(names, plainName(l.path[0]))
		}
	}
}

// notMailNames are those of the language that most of the mailbox's folders
// speak, and of others that at least half as many do: one or two folders of a
// user's own make no language, what is left of an earlier one does.
func notMailNames(list []listed) (names []string) {
	count, most := make([]int, len(exchangeNames)), 0
	for i, language := range exchangeNames {
		for _, name := range strings.Split(language.mail+","+language.notMail, ",") {
			if slices.ContainsFunc(list, func(l listed) bool { return len(l.path) == 1 && plainName(l.path[0]) == name }) {
				count[i]++
			}
		}
		most = max(most, count[i])
	}
	for i, language := range exchangeNames {
		if 2*count[i] >= most {
			names = append(names, strings.Split(language.notMail, ",")...)
		}
	}
	return names
}

func plainName(name string) string {
	return strings.ReplaceAll(strings.ToLower(norm.NFC.String(name)), "’", "'")
}
