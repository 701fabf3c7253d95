package templates

// Sentence is why something did not happen, in the reader's language: the same
// words in notices and in customers' reports. What servers and drivers said is
// never among them. An unknown code is the neutral "needs-person".
func Sentence(locale, code string) string {
	said, ok := sentences[code]
	if !ok {
		said = sentences["needs-person"]
	}
	for _, candidate := range nearest(locale) {
		switch candidate {
		case "en":
			return said.en
		case "fr":
			return said.fr
		case "de":
			return said.de
		}
	}
	return said.en
}

// Codes lists the codes that Sentence knows, in alphabetical order.
func Codes() []string {
	return sortedKeys(sentences)
}

type sentence struct{ en, fr, de string }

var sentences = map[string]sentence{
	// Why a move waits.
	"source-unreachable": {
		"The old mail server could not be reached.",
		"L’ancien serveur de messagerie n’était pas joignable.",
		"Der bisherige Mailserver war nicht erreichbar.",
	},
	"target-unreachable": {
		"The new mail server could not be reached.",
		"Le nouveau serveur de messagerie n’était pas joignable.",
		"Der neue Mailserver war nicht erreichbar.",
	},
	"login-source": {
		"The old mail server did not let us open the mailbox.",
		"L’ancien serveur de messagerie ne nous a pas permis d’ouvrir la boîte aux lettres.",
		"Der bisherige Mailserver hat uns das Postfach nicht öffnen lassen.",
	},
	"login-target": {
		"The new mail server did not let us open the mailbox.",
		"Le nouveau serveur de messagerie ne nous a pas permis d’ouvrir la boîte aux lettres.",
		"Der neue Mailserver hat uns das Postfach nicht öffnen lassen.",
	},
	"target-missing": {
		"The new mailbox does not exist yet.",
		"La nouvelle boîte aux lettres n’existe pas encore.",
		"Das neue Postfach gibt es noch nicht.",
	},
	"target-settings": {
		"A setting of the new mailbox has to be changed first.",
		"Un réglage de la nouvelle boîte aux lettres doit d’abord être modifié.",
		"Eine Einstellung des neuen Postfachs muss zuerst geändert werden.",
	},
	"busy": {
		"A mail server was too busy.",
		"Un serveur de messagerie était trop sollicité.",
		"Ein Mailserver war zu stark ausgelastet.",
	},
	"over-quota": {
		"The new mailbox does not have enough space for all messages.",
		"La nouvelle boîte aux lettres n’offre pas assez d’espace pour tous les messages.",
		"Im neuen Postfach ist nicht genug Platz für alle Nachrichten.",
	},
	"interrupted": {
		"The work was interrupted and will be resumed.",
		"L’opération a été interrompue et sera reprise.",
		"Die Arbeiten wurden unterbrochen und werden fortgesetzt.",
	},
	"too-long": {
		"The interruption would have been longer than we had promised.",
		"L’interruption aurait été plus longue que ce que nous avions annoncé.",
		"Die Unterbrechung hätte länger gedauert, als wir zugesagt hatten.",
	},
	"not-frozen": {
		"We could not make sure that no new messages would arrive in the old mailbox during the move.",
		"Nous n’avons pas pu garantir qu’aucun nouveau message n’arriverait dans l’ancienne boîte aux lettres pendant la migration.",
		"Wir konnten nicht sicherstellen, dass während des Umzugs keine neuen Nachrichten im bisherigen Postfach eintreffen.",
	},
	"contact-moves": {
		"The person to contact reads mail in a mailbox that moves; how the passwords are handed over has to be agreed first.",
		"La personne à contacter lit ses messages dans une boîte aux lettres concernée par la migration ; la remise des mots de passe doit d’abord être convenue.",
		"Die Kontaktperson liest ihre E-Mails in einem Postfach, das umzieht; die Übergabe der Passwörter muss zuerst vereinbart werden.",
	},

	"freeze-locks-out": {
		"The old mailbox could not be closed for the move without shutting out the move itself.",
		"L’ancienne boîte aux lettres n’a pas pu être fermée pour la migration sans bloquer la migration elle-même.",
		"Das bisherige Postfach ließ sich für den Umzug nicht schließen, ohne auch den Umzug selbst auszusperren.",
	},
	"already-switched": {
		"The mailbox seems to have moved already; this is being looked into.",
		"La boîte aux lettres semble déjà transférée ; nous vérifions ce point.",
		"Das Postfach scheint bereits umgezogen zu sein; das wird geprüft.",
	},
	"missing": {
		"A message that had been copied is missing on the new mail server.",
		"Un message qui avait été copié manque sur le nouveau serveur de messagerie.",
		"Eine bereits kopierte Nachricht fehlt auf dem neuen Mailserver.",
	},
	"differs": {
		"A message on the new mail server differs from the original.",
		"Un message sur le nouveau serveur de messagerie diffère de l’original.",
		"Eine Nachricht auf dem neuen Mailserver weicht vom Original ab.",
	},

	"not-moved": {
		"This mailbox does not move; the others move as announced.",
		"Cette boîte aux lettres n’est pas transférée ; les autres le sont comme annoncé.",
		"Dieses Postfach zieht nicht um; die anderen ziehen um wie angekündigt.",
	},

	// What a report remarks on a move.
	"no-freeze": {
		"The old mailbox stayed open during the move; messages that arrived there afterwards follow later.",
		"L’ancienne boîte aux lettres est restée ouverte pendant la migration ; les messages arrivés ensuite suivent plus tard.",
		"Das bisherige Postfach blieb während des Umzugs offen; Nachrichten, die danach dort eintrafen, folgen später.",
	},
	"no-tls": {
		"A connection to a mail server was not encrypted.",
		"Une connexion à un serveur de messagerie n’était pas chiffrée.",
		"Eine Verbindung zu einem Mailserver war nicht verschlüsselt.",
	},
	"short-notice": {
		"The notices for this move could be shorter than promised.",
		"Les préavis de cette migration ont pu être plus courts que promis.",
		"Die Ankündigungen dieses Umzugs konnten kürzer ausfallen als zugesagt.",
	},
	"passwords-first": {
		"The temporary password was set before the messages were copied.",
		"Le mot de passe temporaire a été défini avant la copie des messages.",
		"Das vorläufige Passwort wurde gesetzt, bevor die Nachrichten kopiert wurden.",
	},
	"verify-failed": {
		"The check of the copied messages found a difference.",
		"Le contrôle des messages copiés a révélé une différence.",
		"Bei der Prüfung der kopierten Nachrichten wurde eine Abweichung festgestellt.",
	},
	"notice-failed": {
		"A notice that we had promised could not be delivered.",
		"Un message d’information que nous avions promis n’a pas pu être remis.",
		"Eine zugesagte Mitteilung konnte nicht zugestellt werden.",
	},
	"notice-late": {
		"The notice could not be given early enough.",
		"L’information n’a pas pu être donnée suffisamment tôt.",
		"Die Ankündigung konnte nicht rechtzeitig erfolgen.",
	},
	"other-offer": {
		"Another offer has been chosen instead.",
		"Une autre offre a été choisie.",
		"Stattdessen wurde ein anderes Angebot gewählt.",
	},
	"cancelled-by-customer": {
		"The service has been cancelled by the customer.",
		"Le service a été résilié par le client.",
		"Der Dienst wurde vom Kunden gekündigt.",
	},
	"rolled-back": {
		"The mailbox is back on the old mail server. What had arrived on the new one in the meantime has been brought back.",
		"La boîte aux lettres est de retour sur l’ancien serveur de messagerie. Ce qui était arrivé entre-temps sur le nouveau y a été rapporté.",
		"Das Postfach ist wieder auf dem bisherigen Mailserver. Was inzwischen auf dem neuen eingetroffen war, wurde zurückgebracht.",
	},
	"not-brought-back": {
		"The message arrived on the new mail server after the move and could not be brought back to the old one; the new one still has it.",
		"Le message est arrivé sur le nouveau serveur après la migration et n’a pas pu être rapporté sur l’ancien ; le nouveau l’a toujours.",
		"Die Nachricht traf nach dem Umzug auf dem neuen Mailserver ein und ließ sich nicht zurückbringen; der neue hat sie noch.",
	},
	"held-by-operator": {
		"We have put the move on hold.",
		"Nous avons suspendu la migration.",
		"Wir haben den Umzug angehalten.",
	},
	"needs-person": {
		"A member of our team has to look into this first.",
		"Un membre de notre équipe doit d’abord examiner la situation.",
		"Jemand aus unserem Team muss sich das zunächst ansehen.",
	},
	"deletions": {
		"An unusually large number of messages had been deleted; we want to make sure that this was intended.",
		"Un nombre inhabituel de messages a été supprimé ; nous voulons nous assurer que c’était voulu.",
		"Es wurden ungewöhnlich viele Nachrichten gelöscht; wir möchten sicher sein, dass das beabsichtigt war.",
	},
	"internal": {
		"A fault on our side got in the way.",
		"Une anomalie de notre côté a empêché l’opération.",
		"Ein Fehler auf unserer Seite kam dazwischen.",
	},

	// Why one message or folder was not carried as it was.
	"too-large": {
		"The message is larger than what can be carried over.",
		"Le message dépasse la taille qui peut être transférée.",
		"Die Nachricht ist größer, als übertragen werden kann.",
	},
	"refused": {
		"The new mail server did not accept the message.",
		"Le nouveau serveur de messagerie n’a pas accepté le message.",
		"Der neue Mailserver hat die Nachricht nicht angenommen.",
	},
	"unreadable": {
		"The old mail server could not hand over the message.",
		"L’ancien serveur de messagerie n’a pas pu restituer le message.",
		"Der bisherige Mailserver konnte die Nachricht nicht herausgeben.",
	},
	"excluded": {
		"The folder is excluded from the move.",
		"Le dossier est exclu de la migration.",
		"Der Ordner ist vom Umzug ausgenommen.",
	},
	"folder-refused": {
		"The new mail server did not accept the folder.",
		"Le nouveau serveur de messagerie n’a pas accepté le dossier.",
		"Der neue Mailserver hat den Ordner nicht angenommen.",
	},
	"folder-renamed": {
		"The folder has been given another name, because the new mail server does not allow the old one.",
		"Le dossier a reçu un autre nom, car le nouveau serveur de messagerie n’autorise pas l’ancien.",
		"Der Ordner hat einen anderen Namen erhalten, weil der neue Mailserver den bisherigen nicht zulässt.",
	},
	"keyword-dropped": {
		"A label of the message could not be kept; the message itself has been copied.",
		"Une étiquette du message n’a pas pu être conservée ; le message lui-même a été copié.",
		"Eine Markierung der Nachricht konnte nicht übernommen werden; die Nachricht selbst wurde kopiert.",
	},
	"altered": {
		"The new mail server stored the message with small technical changes.",
		"Le nouveau serveur de messagerie a enregistré le message avec de légères modifications techniques.",
		"Der neue Mailserver hat die Nachricht mit kleinen technischen Änderungen gespeichert.",
	},
	"removed": {
		"The message had been copied, and was deleted on the new mail server before the move.",
		"Le message avait été copié, puis a été supprimé sur le nouveau serveur de messagerie avant le transfert.",
		"Die Nachricht war kopiert und wurde vor dem Umzug auf dem neuen Mailserver gelöscht.",
	},
	"not-mail": {
		"The folder holds no messages but other items, such as contacts or appointments.",
		"Le dossier ne contient pas de messages, mais d’autres éléments tels que des contacts ou des rendez-vous.",
		"Der Ordner enthält keine Nachrichten, sondern andere Einträge wie Kontakte oder Termine.",
	},
	"ambiguous": {
		"We could not tell for certain whether the message had already been copied, and did not copy it a second time.",
		"Nous n’avons pas pu établir avec certitude si le message avait déjà été copié et ne l’avons pas copié une seconde fois.",
		"Es ließ sich nicht sicher feststellen, ob die Nachricht bereits kopiert war; wir haben sie nicht ein zweites Mal kopiert.",
	},
}
