// A Go client over gRPC: a digit's scores, the same over a stream, and an error with its status.
//
// It builds with Debian's packages alone (golang-go, golang-google-grpc-dev, protoc-gen-go, protoc-gen-go-grpc); README.md has
// the commands.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	inference "crossover/protos"
)

func digit() []float32 {
	pixels := make([]float32, 64)
	for at := range pixels {
		if column := float32(at%8) - 3.5; column*column < 4 {
			pixels[at] = 12
		}
	}
	return pixels
}

// request carries its tensor raw: little-endian, without a copy of each number into a message of its own.
func request(model, id string) *inference.ModelInferRequest {
	var raw bytes.Buffer
	if err := binary.Write(&raw, binary.LittleEndian, digit()); err != nil {
		log.Fatal(err)
	}
	input := &inference.ModelInferRequest_InferInputTensor{Name: "x", Datatype: "FP32", Shape: []int64{1, 64}}
	return &inference.ModelInferRequest{
		ModelName:        model,
		Id:               id,
		Inputs:           []*inference.ModelInferRequest_InferInputTensor{input},
		RawInputContents: [][]byte{raw.Bytes()},
	}
}

func say(values map[string]interface{}) {
	line, err := json.Marshal(values)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
}

func main() {
	target := os.Getenv("GRPC")
	if target == "" {
		target = "127.0.0.1:8001"
	}
	connection, err := grpc.Dial(target, grpc.WithInsecure())
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	client := inference.NewGRPCInferenceServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	reply, err := client.ModelInfer(ctx, request("digits", ""))
	if err != nil {
		log.Fatal(err)
	}
	scores := make([]float32, 10)
	if err := binary.Read(bytes.NewReader(reply.RawOutputContents[0]), binary.LittleEndian, scores); err != nil {
		log.Fatal(err)
	}
	say(map[string]interface{}{"wire": "go", "scores": scores})

	stream, err := client.ModelStreamInfer(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, id := range []string{"1", "2", "3"} {
		if err := stream.Send(request("digits", id)); err != nil {
			log.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		log.Fatal(err)
	}
	ids := []string{}
	for {
		answer, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		ids = append(ids, answer.InferResponse.Id)
	}
	say(map[string]interface{}{"stream": ids})

	_, err = client.ModelInfer(ctx, request("nope", ""))
	say(map[string]interface{}{"code": status.Code(err).String(), "details": status.Convert(err).Message()})
}
