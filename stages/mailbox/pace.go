package mailbox

// The library tells us that a command has ended before it draws its conclusions,
// and waits for ever where a server asks it to go on and ends the command in one
// breath. It is given time for both.

// rests waits until the library is through with what it was handed, and wants
// more.
func (w *wire) rests() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.reading && w.err == nil {
		w.changed.Wait()
	}
}

// prompt notes that the library was asked to go on, or does.
func (w *wire) prompt(on bool) {
	w.mu.Lock()
	w.prompted = on
	w.changed.Broadcast()
	w.mu.Unlock()
}

// answered waits until the library has gone on, if it was asked to: then it knows
// what it waits for next. An error: the connection has ended.
func (w *wire) answered() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.prompted && w.err == nil {
		w.changed.Wait()
	}
	return w.err
}
