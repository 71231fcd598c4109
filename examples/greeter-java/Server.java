// The greeter in Java, over gRPC (grpc-java on Netty) or over REST (the JDK's own HTTP server with Gson).
//
//   java -cp ... Server grpc 127.0.0.1:50057
//   java -cp ... Server rest 127.0.0.1:8007

import com.google.gson.FieldNamingPolicy;
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.protobuf.ByteString;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import greeter.v1.GreeterGrpc;
import greeter.v1.GreeterOuterClass.HelloReply;
import greeter.v1.GreeterOuterClass.HelloRequest;
import io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.Collections;
import java.util.concurrent.Executors;

public class Server {
  /** What both services answer: one function, so that only the wires differ. */
  static Answer hello(String name, int times, byte[] photo) throws Exception {
    String message = String.join(" ", Collections.nCopies(Math.max(1, times), "Hello, " + name + "!"));
    byte[] sum = photo.length == 0 ? photo : MessageDigest.getInstance("SHA-256").digest(photo);
    return new Answer(message, name.codePointCount(0, name.length()), sum);
  }

  static class Answer {
    final String message;
    final long lettersInName;
    final transient byte[] sum;
    final String photoSum;

    Answer(String message, long lettersInName, byte[] sum) {
      this.message = message;
      this.lettersInName = lettersInName;
      this.sum = sum;
      this.photoSum = Base64.getEncoder().encodeToString(sum);
    }
  }

  static class Asked {
    String name = "";
    int times;
    String photo = "";
  }

  static class Greeter extends GreeterGrpc.GreeterImplBase {
    @Override
    public void sayHello(HelloRequest asked, StreamObserver<HelloReply> replies) {
      try {
        Answer answer = hello(asked.getName(), asked.getTimes(), asked.getPhoto().toByteArray());
        replies.onNext(
            HelloReply.newBuilder()
                .setMessage(answer.message)
                .setLettersInName(answer.lettersInName)
                .setPhotoSum(ByteString.copyFrom(answer.sum))
                .build());
        replies.onCompleted();
      } catch (Exception error) {
        replies.onError(error);
      }
    }
  }

  static final Gson GSON =
      new GsonBuilder().setFieldNamingPolicy(FieldNamingPolicy.LOWER_CASE_WITH_UNDERSCORES).disableHtmlEscaping().create();

  static void sayHello(HttpExchange exchange) throws IOException {
    byte[] body;
    int status = 200;
    try {
      Asked asked = GSON.fromJson(new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8), Asked.class);
      Answer answer = hello(asked.name, asked.times, Base64.getDecoder().decode(asked.photo));
      body = GSON.toJson(answer).getBytes(StandardCharsets.UTF_8);
    } catch (Exception error) {
      status = 400;
      body = "{\"error\": \"the body is no request\"}".getBytes(StandardCharsets.UTF_8);
    }
    exchange.getResponseHeaders().set("Content-Type", "application/json");
    exchange.sendResponseHeaders(status, body.length);
    exchange.getResponseBody().write(body);
    exchange.close();
  }

  public static void main(String[] arguments) throws Exception {
    int colon = arguments[1].lastIndexOf(':');
    InetSocketAddress where =
        new InetSocketAddress(arguments[1].substring(0, colon), Integer.parseInt(arguments[1].substring(colon + 1)));
    if (arguments[0].equals("grpc")) {
      NettyServerBuilder.forAddress(where).addService(new Greeter()).build().start().awaitTermination();
    } else {
      HttpServer server = HttpServer.create(where, 0);
      server.createContext("/v1/hello", Server::sayHello);
      server.setExecutor(Executors.newCachedThreadPool());
      server.start();
    }
  }
}
