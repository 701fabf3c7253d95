// Package zimbra is the administrator's side of a Zimbra server: it makes
// accounts ready, sets their passwords, says what of their settings will hurt,
// and holds delivery back while an account is copied away.
//
//	soap.go     one request, its answer or fault, and the token
//	account.go  an account as the server shows it
//	admin.go    ensure, set password, must change (platform.Admin)
//	inspect.go  what validate wants to know
//	freeze.go   deferred delivery (platform.Freezer)
//
// It speaks the JSON form of the admin SOAP interface (urn:zimbraAdmin). Every
// fault comes with HTTP 500, so what decides is the fault's code, never its
// text. An answer is held against the account that was asked for: a look-up by
// name also finds aliases of other people's mailboxes. No cookie is kept: a
// stale one makes the next sign-in fail.
package zimbra

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"godwit/stages/platform"
)

// Config says where the server is and who signs in.
type Config struct {
	URL     string                                // of the admin interface: https://host:7071/service/admin/soap
	Login   string                                // of the administrator
	Secret  func(context.Context) (string, error) // of the administrator
	CAFile  string                                // PEM of a private CA; "": the system's
	Timeout time.Duration                         // of one call; 0: 30 s
	COS     string                                // name of the class of service of new accounts; "": the domain's
	Create  bool                                  // Ensure makes accounts that do not exist
	Route   string                                // zimbraMailTransport of a switched account, such as smtp:[mx.new.example]:25
}

// Driver is one server. It is safe for concurrent use: all calls share one
// token and one limit of requests.
type Driver struct {
	config  Config
	client  *http.Client
	limiter *rate.Limiter
	mu      sync.Mutex // held while signing in
	token   string

	asking sync.Mutex
	asked  bool  // for
	limit  int64 // of a message, 0: not known
}

var (
	_ platform.Freezer   = (*Driver)(nil)
	_ platform.Admin     = (*Driver)(nil)
	_ platform.Inspector = (*Driver)(nil)
)

// perSecond stays below Zimbra's own limit of 30 requests a second and
// connection (zimbraHttpDosFilterMaxRequestsPerSec): it answers the rest with
// something that is no SOAP.
const perSecond = 25

// New returns a driver. It reads the CA file and makes no connection.
func New(config Config) (*Driver, error) {
	transport := &http.Transport{
		Proxy:               nil, // the password goes to the server and nowhere else
		MaxIdleConnsPerHost: 4,
		MaxConnsPerHost:     4,
		IdleConnTimeout:     time.Minute,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if config.CAFile != "" {
		pem, err := os.ReadFile(config.CAFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", config.CAFile)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	if config.Timeout == 0 {
		config.Timeout = 30 * time.Second
	}
	return &Driver{
		config: config,
		client: &http.Client{
			Transport: transport,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return errors.New("the admin interface redirects; write the address it redirects to")
			},
		},
		limiter: rate.NewLimiter(perSecond, perSecond),
	}, nil
}

// Close drops idle connections.
func (d *Driver) Close() { d.client.CloseIdleConnections() }
