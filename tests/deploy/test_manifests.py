"""The manifests are right by their schemas and by each other, mistakes are found, and what they say runs: commands, variables, probes."""

from __future__ import annotations

import copy
import http.client
import importlib.util
import os
import re
import signal
import ssl
import subprocess
import sys
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crossover.stack.services import free_ports
from tests.grpc_service import make_certificate

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


@pytest.fixture(scope="module")
def manifests(root):
    """deploy/manifests.py as a module; it needs requirements/deploy.txt."""
    for package in ("jsonschema", "kubernetes_validate"):
        pytest.importorskip(package, reason="requirements/deploy.txt is not installed")
    spec = importlib.util.spec_from_file_location("manifests", root / "deploy" / "manifests.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rendered(manifests):
    """The objects of every folder."""
    return {folder: manifests.rendered(folder) for folder in manifests.FOLDERS}


def test_everything_is_right(manifests, rendered, root):
    """Every folder with a kustomization is rendered, and nothing is wrong with it."""
    folders = {str(path.parent.relative_to(root / "deploy")) for path in (root / "deploy").rglob("kustomization.yaml")}
    assert folders == set(manifests.FOLDERS)
    assert {folder: manifests.faults(objects) for folder, objects in rendered.items()} == {
        folder: [] for folder in folders
    }


MISTAKES = [
    ("base", "Deployment/model-server", "livenessProbe: {", "livenessprobe: {", "livenessprobe"),
    ("base", "Deployment/gateway", "readOnlyRootFilesystem", "readOnlyRootFileSystem", "readOnlyRootFileSystem"),
    ("base", "Deployment/gateway", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "read-only root"),
    ("base", "Deployment/gateway", "name: GATEWAY_GRPC_TARGET", "name: GATEWAY_GRPC_TARGETS", "GATEWAY_GRPC_TARGETS"),
    ("base", "Deployment/model-server", "name: API_KEYS_FILE", "name: GATEWAY_GRPC_TARGET", "GATEWAY_GRPC_TARGET"),
    ("base", "Deployment/gateway", "args: [gateway]", "args: [gatewy]", "args are"),
    (
        "base",
        "Deployment/gateway",
        "mountPath: /etc/crossover/tls",
        "mountPath: /etc/crossover/cert",
        "nothing is mounted",
    ),
    (
        "base",
        "Deployment/gateway",
        "secretName: crossover-keys",
        "secretName: crossover-key",
        "no secret 'crossover-key'",
    ),
    ("base", "Deployment/gateway", "key: upstream", "key: upstreams", "no key upstreams"),
    ("base", "Deployment/gateway", "port: https, scheme", "port: http, scheme", "asks port http"),
    ("base", "Deployment/gateway", "mountPath: /data, name: data", "mountPath: /data, name: date", "no volume 'date'"),
    ("base", "Service/gateway", "targetPort: https", "targetPort: web", "targetPort web"),
    (
        "base",
        "Service/model-server",
        "selector: {app.kubernetes.io/name: model-server}",
        "selector: {app: x}",
        "selects no pod",
    ),
    ("base", "PodDisruptionBudget/gateway", "maxUnavailable", "maxUnavailabel", "maxUnavailabel"),
    ("base", "HorizontalPodAutoscaler/gateway", "name: gateway}", "name: gatway}", "no Deployment 'gatway'"),
    ("base", "NetworkPolicy/gateway", "policyTypes", "policytypes", "policytypes"),
    ("base", "ServiceMonitor/gateway", "port: https", "port: metrics", "no port 'metrics'"),
    ("base", "ServiceMonitor/gateway", "interval: 15s", "interval: 15", "interval"),
    ("base", "ServiceMonitor/gateway", "endpoints", "endpoint", "'endpoints' is a required property"),
    ("overlays/gateway-api", "HTTPRoute/crossover", "port: 80", "port: 81", "no service 'gateway' with port 81"),
    ("overlays/gateway-api", "HTTPRoute/crossover", "PathPrefix", "Prefix", "'Prefix' is not one of"),
    ("overlays/gateway-api", "GRPCRoute/crossover", "service: inference", "services: inference", "services"),
    ("overlays/gateway-api", "Gateway/crossover", "certificateRefs", "certificateRef", "certificateRef"),
    ("overlays/keda", "ScaledObject/model-server", "maxReplicaCount", "maxReplicas", "maxReplicas"),
    ("overlays/keda", "ScaledObject/model-server", "threshold: '8'", "threshold: 8", "8 is not of type 'string'"),
    ("overlays/kserve", "ServingRuntime/crossover", "grpc-v2", "grpc-v3", "grpc-v3"),
    (
        "overlays/kserve",
        "ServingRuntime/crossover",
        "containerPort: 9000",
        "containerport: 9000",
        "'containerPort' is a required",
    ),
    ("overlays/kserve", "InferenceService/digits", "storageUri", "storageURI", "storageURI"),
    ("overlays/kserve", "InferenceService/digits", "pvc://", "pvc:/", "does not match"),
]


@pytest.mark.parametrize(("folder", "name", "right", "wrong", "said"), MISTAKES, ids=[case[-1] for case in MISTAKES])
def test_a_mistake_is_found(manifests, rendered, folder, name, right, wrong, said):
    """A misspelt field, a value that is none, and a name that means nothing are each named in a sentence."""
    yaml = pytest.importorskip("yaml")
    objects = copy.deepcopy(rendered[folder])
    at = next(index for index, each in enumerate(objects) if f"{each['kind']}/{each['metadata']['name']}" == name)
    text = yaml.safe_dump(objects[at], default_flow_style=True, width=10**9)
    assert right in text, text
    objects[at] = yaml.safe_load(text.replace(right, wrong))
    found = manifests.faults(objects)
    assert any(said in fault and name in fault for fault in found), found


def test_the_page_makes_the_secrets(manifests, root):
    """Each secret that the manifests name, with each of its keys, is made by a command in docs/deploy.md."""
    page = (root / "docs" / "deploy.md").read_text("utf-8").replace("\\\n", " ")
    made = dict(re.findall(r"create secret generic (\S+) +(.*)", page))
    assert made.keys() == manifests.SECRETS.keys()
    for name, keys in manifests.SECRETS.items():
        assert set(re.findall(r"--from-(?:file|literal)=([\w.-]+)", made[name])) == keys, name


def pod_of(rendered, folder: str, name: str) -> dict:
    (found,) = [
        each
        for each in rendered[folder]
        if each["kind"] in ("Deployment", "ServingRuntime") and each["metadata"]["name"] == name
    ]
    spec = found["spec"]
    return spec["template"]["spec"] if "template" in spec else spec


class Pod:
    """The container of a pod as a process: its command and variables, with this test's files, names and ports in them."""

    def __init__(self, pod: dict, places: dict[str, str], ports: dict[int, int], root) -> None:
        (container,) = pod["containers"]
        self.container, self.ports = container, ports
        self.named = {port["name"]: port["containerPort"] for port in container["ports"]}
        own = {"GATEWAY_HOST": "127.0.0.1", "MODEL_SERVER_HOST": "127.0.0.1", "LOG_FORMAT": "json"}
        numbers = {8080: "GATEWAY_PORT", 8000: "MODEL_SERVER_HTTP_PORT", 8001: "MODEL_SERVER_GRPC_PORT"}
        own |= {numbers[port]: str(ports[port]) for port in self.named.values() if port in numbers and port in ports}
        given = {item["name"]: self._here(item["value"], places) for item in container["env"]}
        environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "crossover", *container["args"]], cwd=root, env={**environment, **own, **given}
        )

    def _here(self, value: str, places: dict[str, str]) -> str:
        for place, ours in places.items():
            value = value.replace(place, ours)
        for port, ours in self.ports.items():
            value = re.sub(rf"(^|:){port}\b", rf"\g<1>{ours}", value)
        return value

    def probe(self, name: str) -> bool:
        """What the kubelet does for a probe: 200 to 399 of HTTP, SERVING of gRPC; certificates are not checked."""
        probe = self.container[name]
        if "grpc" in probe:
            with grpc.insecure_channel(f"127.0.0.1:{self.ports[probe['grpc']['port']]}") as channel:
                request = health_pb2.HealthCheckRequest(service=probe["grpc"].get("service", ""))
                try:
                    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=probe.get("timeoutSeconds", 1))
                except grpc.RpcError:
                    return False
            return answer.status == health_pb2.HealthCheckResponse.SERVING
        asked = probe["httpGet"]
        port = self.ports[self.named.get(asked["port"], asked["port"])]
        context = ssl._create_unverified_context() if asked.get("scheme") == "HTTPS" else None
        kind = http.client.HTTPSConnection if context else http.client.HTTPConnection
        connection = kind(
            "127.0.0.1", port, timeout=probe.get("timeoutSeconds", 1), **({"context": context} if context else {})
        )
        try:
            connection.request("GET", asked["path"], headers={"User-Agent": "kube-probe/1.34"})
            return 200 <= connection.getresponse().status < 400
        except OSError:
            return False
        finally:
            connection.close()

    def await_probe(self, name: str, wanted: bool = True, seconds: float = 60.0) -> None:
        until = time.monotonic() + seconds
        while self.probe(name) is not wanted:
            assert self.process.poll() is None, "the process has ended"
            assert time.monotonic() < until, f"{name} is not {wanted}"
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def secrets(tmp_path, root):
    """The secrets as docs/deploy.md makes them, in folders that stand for the mounts."""
    keys, database = tmp_path / "keys", tmp_path / "database"
    made = {}
    for folder in (keys, database):
        folder.mkdir()

    def add(file: str, name: str, *scopes: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "crossover", "keys", "add", name, "--file", keys / file, "--scopes", *scopes],
            cwd=root, capture_output=True, text=True, check=True, timeout=60,
        ).stdout.strip().split()[-1]  # fmt: skip

    made["caller"] = add("gateway", "caller", "infer", "predictions", "metrics")
    (keys / "upstream").write_text(add("model-server", "gateway", "infer", "control"))
    (database / "url").write_text(f"sqlite+aiosqlite:///{tmp_path}/predictions.sqlite3\n")
    tls = make_certificate(tmp_path)
    (tmp_path / "tls.crt").write_bytes(tls.cert.read_bytes())
    (tmp_path / "tls.key").write_bytes(tls.key.read_bytes())
    made["places"] = {
        "/etc/crossover/keys": str(keys), "/etc/crossover/database": str(database), "/etc/crossover/tls": str(tmp_path),
        "model-server-headless": "127.0.0.1",
    }  # fmt: skip
    return made


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["base", "overlays/gateway-api"])
def test_what_the_manifests_say_runs(rendered, secrets, tmp_path, root, folder):
    """Both pods' commands start with their variables, their probes pass in order, a request goes through, and SIGTERM drains."""
    rest, rpc, public = free_ports(3)
    ports = {8000: rest, 8001: rpc, 8080: public}
    server = Pod(pod_of(rendered, folder, "model-server"), secrets["places"], ports, root)
    gateway = Pod(pod_of(rendered, folder, "gateway"), secrets["places"], ports, root)
    try:
        for pod in (server, gateway):
            for name in PROBES:
                pod.await_probe(name)
        assert ask(public, folder == "base", secrets["caller"]) == 200
        assert ask(public, folder == "base", "no-key") == 401
        for pod in (gateway, server):
            pod.process.send_signal(signal.SIGTERM)
            pod.await_probe("readinessProbe", wanted=False)
            assert pod.probe("livenessProbe")
            assert pod.process.wait(20) == 0
    finally:
        for pod in (server, gateway):
            pod.stop()


@pytest.mark.slow
def test_the_runtime_of_kserve_runs(rendered, tmp_path, root):
    """With the models where KServe puts them, the runtime's probes pass and the service's own model is there."""
    rest, rpc = free_ports(2)
    places = {"/mnt/models": str(root / "models")}
    runtime = Pod(pod_of(rendered, "overlays/kserve", "crossover"), places, {8080: rest, 9000: rpc}, root)
    (service,) = [each for each in rendered["overlays/kserve"] if each["kind"] == "InferenceService"]
    try:
        runtime.await_probe("readinessProbe")
        runtime.await_probe("livenessProbe")
        connection = http.client.HTTPConnection("127.0.0.1", rest, timeout=5)
        connection.request("GET", f"/v2/models/{service['metadata']['name']}/ready")
        assert connection.getresponse().status == 200
        connection.close()
        runtime.process.send_signal(signal.SIGTERM)
        assert runtime.process.wait(20) == 0
    finally:
        runtime.stop()


def ask(port: int, secure: bool, key: str) -> int:
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,64],"data":[' + b",".join([b"0.5"] * 64) + b"]}]}"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    more = {"context": ssl._create_unverified_context()} if secure else {}
    connection = kind("127.0.0.1", port, timeout=10, **more)
    connection.request(
        "POST", "/v2/models/digits/infer", body, {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    )
    status = connection.getresponse().status
    connection.close()
    return status
