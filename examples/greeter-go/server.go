// The greeter in Go, over gRPC (grpc-go) or over REST (net/http), both as their documentation writes them.
//
//	server grpc 127.0.0.1:50053
//	server rest 127.0.0.1:8003
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc"

	"crossover/greeter"
)

// hello is what both services answer: one function, so that only the wires differ.
func hello(name string, times int, photo []byte) (string, int64, []byte) {
	if times < 1 {
		times = 1
	}
	var sum []byte
	if len(photo) > 0 {
		digest := sha256.Sum256(photo)
		sum = digest[:]
	}
	message := strings.TrimSuffix(strings.Repeat(fmt.Sprintf("Hello, %s! ", name), times), " ")
	return message, int64(utf8.RuneCountInString(name)), sum
}

type service struct{}

func (service) SayHello(_ context.Context, request *greeter.HelloRequest) (*greeter.HelloReply, error) {
	message, letters, sum := hello(request.Name, int(request.Times), request.Photo)
	return &greeter.HelloReply{Message: message, LettersInName: letters, PhotoSum: sum}, nil
}

func (service) Countdown(request *greeter.HelloRequest, stream greeter.Greeter_CountdownServer) error {
	for left := request.Times; left > 0; left-- {
		if err := stream.Send(&greeter.HelloReply{Message: fmt.Sprintf("%d, %s", left, request.Name)}); err != nil {
			return err
		}
	}
	return nil
}

func overGrpc(listen string) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	greeter.RegisterGreeterServer(server, service{})
	return server.Serve(listener)
}

type asked struct {
	Name  string `json:"name"`
	Times int    `json:"times"`
	Photo []byte `json:"photo"`
}

type answer struct {
	Message  string `json:"message"`
	Letters  int64  `json:"letters_in_name"`
	PhotoSum []byte `json:"photo_sum,omitempty"`
}

func sayHello(reply http.ResponseWriter, request *http.Request) {
	var body asked
	if err := json.NewDecoder(request.Body).Decode(&body); err != nil {
		http.Error(reply, err.Error(), http.StatusBadRequest)
		return
	}
	message, letters, sum := hello(body.Name, body.Times, body.Photo)
	reply.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(reply).Encode(answer{message, letters, sum}); err != nil {
		log.Print(err)
	}
}

func overRest(listen string) error {
	http.HandleFunc("/v1/hello", sayHello)
	return http.ListenAndServe(listen, nil)
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("server grpc|rest HOST:PORT")
	}
	wires := map[string]func(string) error{"grpc": overGrpc, "rest": overRest}
	serve, known := wires[os.Args[1]]
	if !known {
		log.Fatalf("'%s' is neither grpc nor rest", os.Args[1])
	}
	log.Fatal(serve(os.Args[2]))
}
