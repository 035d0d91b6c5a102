// A reverse proxy as Go's standard library has it. Its arguments are the address and the Unix socket of the
// application.
package main

import (
	"context"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

func main() {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "application"})
	proxy.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", os.Args[2])
		},
		DisableCompression: true,
		// Two by default, and every other request would have a connection of its own.
		MaxIdleConnsPerHost: 1024,
	}
	log.Fatal(http.ListenAndServe(os.Args[1], proxy))
}
