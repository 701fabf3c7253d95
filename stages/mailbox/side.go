package mailbox

// SideError says on which side of a pass an error arose.
type SideError struct {
	Side string // source | target
	Err  error
}

func (e *SideError) Error() string { return e.Side + ": " + e.Err.Error() }

func (e *SideError) Unwrap() error { return e.Err }

func onSide(side string, err error) error {
	if err == nil {
		return nil
	}
	return &SideError{side, err}
}

// side is the account's word for a side: a pass that goes home has them swapped.
func (r *pass) side(there, home string) string {
	if r.home {
		return home
	}
	return there
}
