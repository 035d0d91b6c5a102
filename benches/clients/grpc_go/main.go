// Clients of grpc-go: unary calls until standard input ends, and then what became of them, as JSON.
//
//	go run main.go ADDRESS CLIENTS
//
// All clients share one channel, as configured by default, and think up to 20 ms between calls.
package main

import (
	"context"
	"encoding/json"
	"io"
	"math/rand"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// Messages are bytes already.
type bytesCodec struct{}

func (bytesCodec) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }

func (bytesCodec) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = data
	return nil
}

func (bytesCodec) Name() string { return "proto" }

func main() {
	clients, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	var (
		stopped     atomic.Bool
		connections atomic.Int64
		lock        sync.Mutex
		group       sync.WaitGroup
		requests    int
		failed      int
		slowest     time.Duration
		failures    = map[string]int{}
	)
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		connections.Add(1)
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	channel, err := grpc.Dial(os.Args[1], grpc.WithInsecure(), grpc.WithContextDialer(dial),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(bytesCodec{})))
	if err != nil {
		panic(err)
	}
	for i := 0; i < clients; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for !stopped.Load() {
				name, answer := []byte("\n\x03you"), []byte{}
				begin := time.Now()
				err := channel.Invoke(context.Background(), "/greeter.Greeter/Greet", &name, &answer)
				took := time.Since(begin)
				lock.Lock()
				requests++
				if took > slowest {
					slowest = took
				}
				if err != nil {
					failed++
					failures[err.Error()]++
				}
				lock.Unlock()
				time.Sleep(time.Duration(rand.Intn(20_000)) * time.Microsecond)
			}
		}()
	}
	io.Copy(io.Discard, os.Stdin)
	stopped.Store(true)
	group.Wait()
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"requests": requests, "failed": failed, "connections": connections.Load(),
		"slowest": float64(slowest.Microseconds()) / 1000, "failures": failures,
	})
}
