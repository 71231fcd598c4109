"""The image: built without an engine, then both services run from it as its configuration says, non-root on a read-only root.

Needs root, buildah and debootstrap, and fetches packages; `make image-test` runs it (about five minutes the first time).
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from crossover.stack.services import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
BASE, IMAGE = "localhost/crossover-test-base", "localhost/crossover-test"
ENTER = """
set -e
root=$1; shift
mount --bind "$root" "$root"; mount -o remount,ro,bind "$root"
mount -t tmpfs tmpfs "$root/tmp"; mount -t tmpfs -o uid=65532,gid=65532 tmpfs "$root/data"
mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev"
exec chroot --userspec="$USER_OF_IMAGE" "$root" "$@"
"""
"""What a container engine does with `read_only: true`, a tmpfs for /tmp and a volume for /data; it becomes the service."""


def reason() -> str:
    """Why it cannot be tried here; empty where it can."""
    missing = [tool for tool in ("buildah", "debootstrap", "unshare") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} missing; on Debian: apt-get install buildah debootstrap"
    if os.geteuid() != 0:
        return "building with --isolation chroot and a read-only root need root"
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"mounts are not allowed here: {tried.stderr.decode().strip()}"


if reason():
    pytestmark.append(pytest.mark.skip(reason=reason()))


def buildah(*arguments: str | Path, **more) -> str:
    done = subprocess.run(
        ["buildah", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=1200, **more
    )
    assert done.returncode == 0, f"buildah {arguments[0]}: {done.stderr[-3000:]}"
    return done.stdout.strip()


def mirror() -> tuple[str, str]:
    """Where this machine's apt gets Debian from, and which release this is."""
    shown = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)"], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    sites = [line.split() for line in shown if line.strip()]
    release = dict(line.partition("=")[::2] for line in Path("/etc/os-release").read_text().split("\n"))
    name = release["VERSION_CODENAME"].strip('"')
    return next(site for site, *_ in sites if "security" not in site), name


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    """A base image of Debian and Python alone, made once on a machine."""
    images = subprocess.run(["buildah", "images", "--format", "{{.Name}}"], capture_output=True, text=True, check=True)
    if BASE not in images.stdout.split():
        folder = tmp_path_factory.mktemp("base")
        site, release = mirror()
        subprocess.run(
            ["debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", release, folder, site],
            check=True, capture_output=True, timeout=600,
        )  # fmt: skip
        container = buildah("from", "scratch")
        buildah("add", "-q", container, folder, "/")
        buildah("commit", "-q", container, BASE)
        buildah("rm", container)
        shutil.rmtree(folder)
    return BASE


@pytest.fixture(scope="module")
def image(root, base) -> dict:
    """The image's configuration; the build uses this machine's package sources and certificates."""
    given = [place for place in ("/etc/pip.conf", "/etc/ssl/certs") if Path(place).exists()]
    buildah(
        "build", "--isolation", "chroot", "--format", "docker", "--layers", "--build-arg", f"BASE={base}",
        *(f"--volume={place}:{place}:ro" for place in given), "-f", "Containerfile", "-t", IMAGE, ".", cwd=root,
    )  # fmt: skip
    return json.loads(buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]


@pytest.fixture(scope="module")
def mounted(image):
    """The image's files."""
    container = buildah("from", IMAGE)
    yield Path(buildah("mount", container))
    buildah("umount", container)
    buildah("rm", container)


class Containers:
    """Starts commands as the image's configuration says."""

    def __init__(self, image: dict, files: Path) -> None:
        self.image, self.files = image, files
        self.running: list[subprocess.Popen] = []

    def start(self, command: list[str], environment: dict[str, str] | None = None, **more) -> subprocess.Popen:
        from_image = dict(item.split("=", 1) for item in self.image["Env"])
        started = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", ENTER, "sh", self.files, *command],
            env={**from_image, "USER_OF_IMAGE": self.image["User"], **(environment or {})}, **more,
        )  # fmt: skip
        self.running.append(started)
        return started

    def service(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen:
        return self.start([*self.image["Entrypoint"], *command], environment, stderr=subprocess.PIPE, text=True)

    def output(self, *command: str, **environment: str) -> tuple[int, str]:
        done = self.start(list(command), environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = done.communicate(timeout=60)[0]
        return done.returncode, said.strip()


@pytest.fixture
def containers(image, mounted):
    made = Containers(image, mounted)
    yield made
    for process in made.running:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_nothing_but_what_serves(mounted, containers):
    """No compiler and no installer; the native parts are there; the user is not root and can write to /tmp and /data alone."""
    found = {path.name for folder in ("usr/bin", "opt/crossover/bin") for path in (mounted / folder).iterdir()}
    assert not found & {"gcc", "cc", "g++", "c++", "clang", "ld", "as", "make", "pip", "pip3"}
    code, said = containers.output(
        "python3",
        "-c",
        "from crossover.protocol.native import _bytestensors, _jsonchecks, _jsontensors; import os; print(os.getuid())",
    )
    assert (code, said) == (0, "65532")
    code, said = containers.output(
        "sh", "-c", "for d in / /opt/crossover /etc /usr /tmp /data; do touch $d/x 2>/dev/null && echo $d; done; true"
    )
    assert said.split() == ["/tmp", "/data"]


def test_both_services_run_from_it(containers):
    """Model server and gateway answer over gRPC and REST, say so to the health check, and end well on SIGTERM."""
    rest, grpc, public = free_ports(3)
    ports = {"MODEL_SERVER_HTTP_PORT": str(rest), "MODEL_SERVER_GRPC_PORT": str(grpc), "GATEWAY_PORT": str(public)}
    ports |= {"MODEL_SERVER_HOST": "127.0.0.1", "GATEWAY_HOST": "127.0.0.1", "DRAIN_SECONDS": "0.2"}
    server = containers.service(["serve"], ports)
    gateway = containers.service(
        containers.image["Cmd"], {**ports, "GATEWAY_GRPC_TARGET": f"127.0.0.1:{grpc}", "GATEWAY_UPSTREAM_HEADER": "1"}
    )
    await_ready(rest, server)
    await_ready(public, gateway)
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": [0.5] * 64}]}
    for upstream in ("grpc", "rest"):
        reply = ask(public, "/v2/models/digits/infer", body, {"Inference-Upstream": upstream})
        assert json.loads(reply)["model_name"] == "digits"
    assert json.loads(ask(public, "/api/predictions", {"model": "digits", **body}, {}))["state"] == "succeeded"
    kind, *check = containers.image["Healthcheck"]["Test"]
    assert kind == "CMD"
    for port in (public, rest):
        assert containers.output(*check, CROSSOVER_HEALTH=f"http://127.0.0.1:{port}") == (0, "")
    assert containers.output(*check, CROSSOVER_HEALTH="http://127.0.0.1:9")[0] != 0
    assert containers.image["StopSignal"] == "SIGTERM"
    for process in (gateway, server):
        process.send_signal(signal.SIGTERM)
        lines = process.communicate(timeout=30)[1].splitlines()
        assert process.returncode == 0
        assert [json.loads(line) for line in lines][-1]["message"] == "stopped"


def ask(port: int, path: str, body: object, headers: dict[str, str]) -> bytes:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        return reply.read()


def await_ready(port: int, process: subprocess.Popen) -> None:
    until = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)
