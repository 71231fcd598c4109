"""`python -m stack`, which `make run` starts: both services, their logs, one signal to each, exit code 0."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from endpoints import settings
from endpoints.process import SAME_SIGNAL_SECONDS, url_host
from rest_gateway.settings import GatewaySettings
from stack.services import Service, StartError

WELCOME = """
  gateway        {gateway}              REST for everybody; docs at {gateway}/docs
  model server   {rest}              OIP REST
                 {grpc}                     OIP gRPC, health, reflection

Try:
  curl -s {gateway}/v2/models/digits/infer -d @- <<< '{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1,64],"data":[{zeros}]}}]}}'
  curl -s {gateway}/v2/models/digits -H 'Inference-Upstream: rest'
  grpcurl -plaintext {grpc} list
  .venv/bin/python -m clients infer digits --wire all
Ctrl-C stops both.
"""


class Supervisor:
    """Two services, one of which ending ends the other."""

    def __init__(self, chosen: GatewaySettings) -> None:
        self._chosen = chosen
        self._services: dict[str, Service] = {}
        self._stopping: tuple[int, float] | None = None
        self._printing = threading.Lock()

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._received)
        try:
            self._start(
                "model server", "model_server", self._chosen.model_server_host, self._chosen.model_server_http_port
            )
            self._start("gateway", "rest_gateway", self._chosen.gateway_host, self._chosen.gateway_port)
            self._say(self._welcome())
        except StartError as error:
            if self._stopping is None:
                self._stop_all()
                print(str(error), file=sys.stderr)
                return 1
        return self._watch()

    def _start(self, name: str, module: str, host: str, port: int) -> None:
        if self._stopping is not None:
            return
        service = Service(module, {"PYTHONUNBUFFERED": "1"}, (url_host(host).strip("[]"), port), subprocess.PIPE)
        self._services[name] = service
        threading.Thread(target=self._show, args=(name, service.output), daemon=True).start()
        if self._tls(module):
            self._await_listening(service)
        else:
            service.await_ready()

    def _tls(self, module: str) -> bool:
        if module == "rest_gateway":
            return self._chosen.gateway_tls_cert is not None
        return bool(os.environ.get("MODEL_SERVER_TLS_CERT"))

    def _await_listening(self, service: Service) -> None:
        """A port with TLS can't be asked without its authorities; that it lives is what is awaited."""
        time.sleep(2)
        if (code := service.returncode()) is not None:
            raise StartError(f"{service.module} ended with exit code {code} before it was ready")

    def _watch(self) -> int:
        while self._stopping is None:
            for name, service in self._services.items():
                if (code := service.returncode()) is not None:
                    self._say(f"the {name} ended by itself with exit code {code}; stopping")
                    self._stop_all()
                    return 1
            time.sleep(0.1)
        self._stop_all()
        return 0

    def _stop_all(self) -> None:
        # the gateway first: what it has in flight still needs the model server
        for service in reversed(self._services.values()):
            service.stop(self._chosen.grace_seconds + 5)

    def _received(self, number: int, _: Any) -> None:
        now = time.monotonic()
        if self._stopping is None:
            self._stopping = (number, now)
        elif now - self._stopping[1] > SAME_SIGNAL_SECONDS:
            for service in self._services.values():
                service.kill()

    def _show(self, name: str, output: Any) -> None:
        for line in output:
            self._say(f"{name:>12} | {line.decode('utf-8', 'replace').rstrip()}")

    def _say(self, text: str) -> None:
        with self._printing:
            print(text, flush=True)

    def _welcome(self) -> str:
        chosen = self._chosen
        secure = "https" if chosen.gateway_tls_cert else "http"
        return WELCOME.format(
            gateway=f"{secure}://{url_host(chosen.gateway_host)}:{chosen.gateway_port}",
            rest=f"http://{url_host(chosen.model_server_host)}:{chosen.model_server_http_port}",
            grpc=f"{url_host(chosen.model_server_host)}:{chosen.model_server_grpc_port}",
            zeros=",".join(["0"] * 64),
        )


def main() -> int:
    chosen = settings.load(GatewaySettings, "python -m stack", [])
    if not chosen.model_repository.is_dir():
        settings.fail(f"the model repository '{chosen.model_repository}' is not a folder (MODEL_REPOSITORY)")
    return Supervisor(chosen).run()


if __name__ == "__main__":
    sys.exit(main())
