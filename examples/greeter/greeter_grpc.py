"""The greeter over gRPC, by grpc.aio as its documentation shows it.

python greeter_grpc.py --listen 127.0.0.1:50051 [--tls-cert FILE --tls-key FILE] [--no-reflection]
"""

import argparse
import asyncio
from pathlib import Path

import grpc
from greeting import hello
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

messages, services = grpc.protos_and_services("greeter.proto")


class Greeter(services.GreeterServicer):
    """Answers calls."""

    async def SayHello(self, request, context):
        message, letters, photo_sum = hello(request.name, request.times, request.photo)
        return messages.HelloReply(message=message, letters_in_name=letters, photo_sum=photo_sum)

    async def Countdown(self, request, context):
        for left in range(request.times, 0, -1):
            yield messages.HelloReply(message=f"{left}, {request.name}")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", default="127.0.0.1:50051", help="HOST:PORT or unix:PATH")
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--no-reflection", action="store_true")
    given = parser.parse_args()
    server = grpc.aio.server()
    services.add_GreeterServicer_to_server(Greeter(), server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    if not given.no_reflection:
        names = (messages.DESCRIPTOR.services_by_name["Greeter"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
    if given.tls_cert:
        secret = grpc.ssl_server_credentials([(given.tls_key.read_bytes(), given.tls_cert.read_bytes())])
        server.add_secure_port(given.listen, secret)
    else:
        server.add_insecure_port(given.listen)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
