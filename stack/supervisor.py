"""Both services as children: started, watched, restarted after a crash, and stopped with one signal each."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crossover.service import log as log_of_service
from crossover.service.agreed import CANNOT_START, SAME_SIGNAL_SECONDS, stop_signals, url_host
from crossover.service.settings import environment
from crossover.stack.services import START_SECONDS, ServiceProcess
from crossover.stack.welcome import welcome

if TYPE_CHECKING:
    from crossover.stack.settings import StackSettings

STOP_SLACK_SECONDS = 5.0
"""Seconds that a service may take beyond the grace period before it is killed."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 30.0
"""Before a restart; it doubles with every crash, and begins anew after a service has run well for a minute."""
_RAN_WELL_SECONDS = 60.0
_LOOK_SECONDS = 0.05


@dataclass(slots=True)
class Child:
    """One of the two services, over all its starts."""

    name: str
    module: str
    ready_at: tuple[str, int]
    secure: bool
    service: ServiceProcess | None = None
    """None before the first start and after an end without a restart."""
    readers: list[threading.Thread] = field(default_factory=list)
    started_at: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS
    restart_at: float | None = None


class StackSupervisor:
    """Runs a model server and a gateway until SIGINT or SIGTERM.

    After a crash (any end but exit code 0 and `CANNOT_START`) a service is started again; the other goes on meanwhile.
    """

    def __init__(self, chosen: StackSettings) -> None:
        self._chosen = chosen
        self._environment = {**environment(chosen), "PYTHONUNBUFFERED": "1", "DRAIN_SECONDS": "0"}
        cert, key = chosen.upstream_tls_cert, chosen.upstream_tls_key
        self._shown = (str(cert), str(key)) if cert and key else None
        self._printing = threading.Lock()
        self._as_json = chosen.log_format == "json"
        self._stopping: float | None = None
        model_server = (_host(chosen.model_server_host), chosen.model_server_http_port)
        gateway = (_host(chosen.gateway_host), chosen.gateway_port)
        self._children = [
            Child("gateway", "rest_gateway", gateway, chosen.gateway_tls_cert is not None),
            Child("model server", "model_server", model_server, chosen.model_server_tls_cert is not None),
        ]

    def run(self) -> int:
        """0 after a signal, 1 when a service could not start, both have ended, or one had to be killed."""
        for number in stop_signals():
            signal.signal(number, self._received)
        for child in reversed(self._children):
            self._start(child)
        failure = self._await_ready()
        if failure is None and self._stopping is None:
            self._say(welcome(self._chosen))
            self._warm_page()
            failure = self._watch()
        stopped_well = self._stop()
        if failure is not None:
            log_of_service.say(failure)
        return 0 if failure is None and stopped_well else 1

    def _start(self, child: Child) -> None:
        child.restart_at, child.started_at = None, time.monotonic()
        child.service = ServiceProcess(
            child.module, self._environment, child.ready_at, subprocess.PIPE, secure=child.secure, shown=self._shown
        )
        reader = threading.Thread(target=self._show, args=(child.name, child.service.output), daemon=True)
        reader.start()
        child.readers.append(reader)

    def _await_ready(self) -> str | None:
        """Wait until both are ready; a sentence when one has ended or takes too long."""
        until = time.monotonic() + START_SECONDS
        for child in reversed(self._children):
            assert child.service is not None
            while self._stopping is None and not child.service.is_ready():
                for other in self._children:
                    if other.service is not None and (code := other.service.returncode()) is not None:
                        self._finish_reading(other)
                        return f"the {other.name} could not start (exit code {code}); its line above says why"
                if time.monotonic() > until:
                    return f"the {child.name} was not ready within {START_SECONDS:g} s"
                time.sleep(_LOOK_SECONDS)
        return None

    def _warm_page(self) -> None:
        """Whoever reads the welcome opens the page next."""
        gateway = self._children[0].service
        if gateway is not None:
            threading.Thread(target=gateway.warm, daemon=True).start()

    def _watch(self) -> str | None:
        """Look after both until a signal; a sentence when neither runs any more."""
        while self._stopping is None:
            for child in self._children:
                self._look_after(child)
            if all(child.service is None and child.restart_at is None for child in self._children):
                return "both services have ended"
            time.sleep(_LOOK_SECONDS)
        return None

    def _look_after(self, child: Child) -> None:
        if child.restart_at is not None and time.monotonic() >= child.restart_at:
            self._start(child)
        if child.service is None or (code := child.service.returncode()) is None:
            return
        self._finish_reading(child)
        child.service = None
        if code in (0, CANNOT_START):
            what = "was stopped" if code == 0 else "cannot start"
            self._say(f"the {child.name} {what}; `.venv/bin/python -m {child.module}` starts it again")
            return
        if time.monotonic() - child.started_at > _RAN_WELL_SECONDS:
            child.pause = FIRST_PAUSE_SECONDS
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._say(f"the {child.name} ended by {how}; starting it again in {child.pause:g} s")
        child.restart_at = time.monotonic() + child.pause
        child.pause = min(child.pause * 2, LONGEST_PAUSE_SECONDS)

    def _stop(self) -> bool:
        """Stop the gateway first, since its requests in flight still need the model server."""
        until = time.monotonic() + self._chosen.grace_seconds + STOP_SLACK_SECONDS
        killed = False
        for child in self._children:
            if child.service is not None and child.service.returncode() is None:
                killed |= child.service.stop(max(STOP_SLACK_SECONDS, until - time.monotonic())) == -signal.SIGKILL
            self._finish_reading(child)
        return not killed

    def _received(self, _number: int, _frame: Any) -> None:
        now = time.monotonic()
        if self._stopping is None:
            self._stopping = now
        elif now - self._stopping > SAME_SIGNAL_SECONDS:
            for child in self._children:
                if child.service is not None:
                    child.service.signal(signal.SIGKILL)

    def _show(self, name: str, output: Any) -> None:
        for line in output:
            text = line.decode("utf-8", "replace").rstrip()
            if not self._as_json:
                self._print(f"{name:>12} | {text}")
            elif _is_object(text):
                self._print(text)
            else:
                self._print(_object(name, text))

    def _finish_reading(self, child: Child) -> None:
        for reader in child.readers:
            reader.join(timeout=1)
        child.readers.clear()

    def _say(self, text: str) -> None:
        self._print(_object("crossover.stack", text) if self._as_json else text)

    def _print(self, text: str) -> None:
        """Print; a reader that has gone must not stop the services' logs from being drained."""
        try:
            with self._printing:
                print(text, flush=True)
        except OSError:
            sys.stdout = None


def _object(logger: str, text: str) -> str:
    """The text as a record of JSON."""
    return log_of_service.JsonFormatter().format(logging.LogRecord(logger, logging.INFO, "", 0, text, None, None))


def _is_object(text: str) -> bool:
    """Whether a service's line is a record already; a library's own output is not."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _host(host: str) -> str:
    return url_host(host).strip("[]")
