// Clients of net/http: requests until standard input ends, and then what became of them, as JSON.
//
//	go run main.go URL CERTIFICATE MODE METHOD CLIENTS
//
// MODE is h2 (all clients on what connections net/http opens), h1 (a connection for each client, which keeps it), new
// (HTTP/1.1, a connection and a full handshake for each request), or resumed (the same, with the last one's session).
// METHOD is GET, POST (whose body net/http can send again), or STREAM (a POST whose body it cannot). Clients that keep
// connections think up to 20 ms between requests.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var (
	url, mode, method = os.Args[1], os.Args[3], os.Args[4]
	stopped           atomic.Bool
	connections       atomic.Int64
	lock              sync.Mutex
	requests          int
	resumed           int
	slowest           time.Duration
	failures          = map[string]int{}
)

func main() {
	certificate, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(certificate)
	clients, err := strconv.Atoi(os.Args[5])
	if err != nil {
		panic(err)
	}
	shared := client(authorities)
	var group sync.WaitGroup
	for i := 0; i < clients; i++ {
		own := shared
		if mode != "h2" {
			own = client(authorities)
		}
		group.Add(1)
		go func() {
			defer group.Done()
			for !stopped.Load() {
				ask(own)
				if mode == "h1" || mode == "h2" {
					time.Sleep(time.Duration(rand.Intn(20_000)) * time.Microsecond)
				}
			}
		}()
	}
	io.Copy(io.Discard, os.Stdin)
	stopped.Store(true)
	group.Wait()
	failed := 0
	for _, times := range failures {
		failed += times
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"requests": requests, "failed": failed, "connections": connections.Load(), "resumed": resumed,
		"slowest": float64(slowest.Microseconds()) / 1000, "failures": failures,
	})
}

func client(authorities *x509.CertPool) *http.Client {
	secured := &tls.Config{RootCAs: authorities}
	if mode == "resumed" {
		secured.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	transport := &http.Transport{
		TLSClientConfig:   secured,
		ForceAttemptHTTP2: mode == "h2",
		DisableKeepAlives: mode == "new" || mode == "resumed",
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			connections.Add(1)
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

func ask(client *http.Client) {
	var body io.Reader
	verb := method
	switch method {
	case "POST":
		body = bytes.NewReader([]byte("hello"))
	case "STREAM":
		verb, body = "POST", io.NopCloser(bytes.NewReader([]byte("hello")))
	}
	request, err := http.NewRequest(verb, url, body)
	if err != nil {
		panic(err)
	}
	if method == "STREAM" {
		request.ContentLength = 5
	}
	begin := time.Now()
	response, err := client.Do(request)
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err == nil && response.StatusCode != 200 {
			err = fmt.Errorf("%s", response.Status)
		}
		if err == nil && (response.ProtoMajor == 2) != (mode == "h2") {
			err = fmt.Errorf("an answer in %s", response.Proto)
		}
	}
	took := time.Since(begin)
	lock.Lock()
	defer lock.Unlock()
	requests++
	if took > slowest {
		slowest = took
	}
	if err != nil {
		failures[strings.ReplaceAll(err.Error(), url, "URL")]++
	} else if response.TLS.DidResume {
		resumed++
	}
}
