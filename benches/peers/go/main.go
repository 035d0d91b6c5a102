// The same answers from Go's net/http. Its argument is the address; a socket of systemd's goes before it. With a
// certificate and its key as further arguments it speaks TLS.
package main

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	listener, err := listen()
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: handler()}
	ended := make(chan struct{})
	go func() {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		<-signals
		limit, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		server.Shutdown(limit)
		close(ended)
	}()
	if err := serve(server, listener); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-ended
}

func serve(server *http.Server, listener net.Listener) error {
	if len(os.Args) > 3 {
		return server.ServeTLS(listener, os.Args[2], os.Args[3])
	}
	return server.Serve(listener)
}

func listen() (net.Listener, error) {
	if os.Getenv("LISTEN_FDS") != "" {
		return net.FileListener(os.NewFile(3, "public"))
	}
	return net.Listen("tcp", os.Args[1])
}

// Files, and an address for bodies that nobody keeps, if there is a directory to serve.
func handler() http.Handler {
	files := os.Getenv("FILES")
	if files == "" {
		return http.HandlerFunc(hello)
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(files)))
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		hello(w, r)
	})
	return mux
}

func hello(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "Hello, Serve is running...\n")
}
