package demohost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"godwit/stages/platform"
)

// Hook is the program that the demo's plan names for the driver exec: it hands
// the request on stdin to the admin side at socket and returns the exit code.
// The answer to check goes to stdout, what went wrong to stderr.
func Hook(ctx context.Context, socket string, stdin io.Reader, stdout io.Writer) int {
	a, err := ask(ctx, socket, stdin)
	if err != nil {
		a = answer{Exit: exitFailed, Error: err.Error()}
	}
	if a.Error != "" {
		fmt.Fprintln(os.Stderr, a.Error)
	} else if a.State != "" {
		_ = json.NewEncoder(stdout).Encode(answerState{a.State})
	}
	return a.Exit
}

type answerState struct {
	State platform.State `json:"state"`
}

func ask(ctx context.Context, socket string, stdin io.Reader) (answer, error) {
	var a answer
	q, err := io.ReadAll(io.LimitReader(stdin, 64<<10))
	if err != nil {
		return a, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return a, fmt.Errorf("the demo host is not running: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := conn.Write(append(q, '\n')); err != nil {
		return a, err
	}
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		return a, fmt.Errorf("the demo host did not answer: %w", errors.Join(ctx.Err(), err))
	}
	return a, nil
}
