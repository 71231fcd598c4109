"""Renders the manifests and checks them without a cluster: `python deploy/manifests.py` (make manifests-check).

Built-in kinds are held against Kubernetes' own schemas, strictly; custom resources against schemas/custom.yaml. What no
schema sees is checked here: names that one object uses of another (labels, ports, volumes, secrets), and that the commands
and environment variables of our containers are ones that the services have.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from crossover.__main__ import COMMANDS  # noqa: E402 - the path to it is made above
from crossover.model_server.settings import ModelServerSettings  # noqa: E402
from crossover.rest_gateway.settings import GatewaySettings  # noqa: E402
from crossover.service.settings import ServiceSettings  # noqa: E402

FOLDERS = ("base", "overlays/gateway-api", "overlays/keda", "overlays/kserve")
VERSION = "1.34"
"""The Kubernetes release whose schemas are used; of those since then nothing is needed."""
SETTINGS: dict[str, type[ServiceSettings]] = {"gateway": GatewaySettings, "serve": ModelServerSettings}
_OTEL = "OTEL_"
_SCHEMAS = yaml.safe_load((HERE / "schemas" / "custom.yaml").read_text())
_METADATA = {"name", "namespace", "labels", "annotations"}
SECRETS = {
    "crossover-keys": {"gateway", "model-server", "upstream", "scrape-gateway", "scrape-model-server"},
    "crossover-database": {"url"},
    "gateway-tls": {"tls.crt", "tls.key", "ca.crt"},
}
"""The secrets that docs/deploy.md makes, with their keys."""


def rendered(folder: str) -> list[dict[str, Any]]:
    """The objects that `kubectl apply -k` would send; ValueError when kustomize refuses."""
    beside = Path(sys.executable).with_name("kubectl")
    kubectl = str(beside) if beside.exists() else shutil.which("kubectl")
    if kubectl is None:
        raise ValueError("kubectl is missing: requirements/deploy.txt has it")
    done = subprocess.run(
        [kubectl, "kustomize", HERE / folder],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": "/nonexistent"},
    )
    if done.returncode != 0:
        raise ValueError(f"{folder}: {done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


def faults(objects: list[dict[str, Any]]) -> list[str]:
    """What is wrong with the objects of one folder, one sentence each."""
    found = [f"{_name(each)}: {fault}" for each in objects for fault in _against_schema(json.dumps(each))]
    if found:
        return found
    for pod, owner in _pods(objects):
        found += [f"{owner}: {fault}" for fault in _of_pod(pod)]
    return found + list(_references(objects))


def _name(each: dict[str, Any]) -> str:
    return f"{each.get('kind')}/{each.get('metadata', {}).get('name')}"


@functools.cache
def _against_schema(text: str) -> list[str]:
    """The faults of one object, as JSON; the schemas of Kubernetes take a quarter of a second to be read."""
    return list(_schema_faults(json.loads(text)))


def _schema_faults(each: dict[str, Any]) -> Iterator[str]:
    kind = f"{each.get('apiVersion')}/{each.get('kind')}"
    if kind not in _SCHEMAS["kinds"]:
        try:
            kubernetes_validate.validate(each, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError:
            yield f"there is no schema for {kind}; write one in deploy/schemas/custom.yaml"
        return
    if set(each) != {"apiVersion", "kind", "metadata", "spec"} or not set(each["metadata"]) <= _METADATA:
        yield "it has fields beside apiVersion, kind, metadata (name, namespace, labels, annotations) and spec"
    schema = {**_SCHEMAS["kinds"][kind], "definitions": _SCHEMAS["definitions"]}
    for fault in jsonschema.Draft202012Validator(schema).iter_errors(each["spec"]):
        yield f"spec.{'.'.join(map(str, fault.absolute_path))}: {fault.message}"
    if each["kind"] == "ServingRuntime":
        spec = {key: each["spec"][key] for key in ("containers", "volumes") if key in each["spec"]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "runtime"}, "spec": spec}
        yield from _schema_faults(pod)


def _pods(objects: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    for each in objects:
        if each["kind"] == "Deployment":
            yield each["spec"]["template"]["spec"], _name(each)
        elif each["kind"] == "ServingRuntime":
            yield each["spec"], _name(each)


def _of_pod(pod: dict[str, Any]) -> Iterator[str]:
    """Commands, variables, ports of probes, volumes and secrets of our containers."""
    volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
    for volume in volumes.values():
        secret = volume.get("secret")
        if secret is not None:
            yield from _secret(secret["secretName"], [item["key"] for item in secret.get("items", ())])
    for container in pod["containers"]:
        command, *rest = container.get("args", [""])
        if command not in COMMANDS or command not in SETTINGS or rest:
            yield f"args are {container.get('args')}; they are one of {', '.join(SETTINGS)}"
            continue
        kind = SETTINGS[command]
        known = {name.upper() for name in kind.fields} | {f"{name.upper()}_FILE" for name in kind.secrets}
        for variable in container.get("env", ()):
            if variable["name"] not in known and not variable["name"].startswith(_OTEL):
                yield f"{variable['name']} is not a setting of `crossover {command}`"
        ports = {port["name"] for port in container["ports"]} | {port["containerPort"] for port in container["ports"]}
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container.get(name, {})
            asked = next((probe[way]["port"] for way in ("httpGet", "grpc", "tcpSocket") if way in probe), None)
            if asked is not None and asked not in ports:
                yield f"{name} asks port {asked}; the container has {sorted(map(str, ports))}"
        mounts = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", ())}
        for mount in mounts.keys() - volumes.keys():
            yield f"there is no volume '{mount}'"
        for variable in container.get("env", ()):
            path = variable.get("value", "")
            if path.startswith("/etc/") and not any(path.startswith(f"{place}/") for place in mounts.values()):
                yield f"{variable['name']} names {path}, where nothing is mounted"
        context = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
        if not (context.get("runAsNonRoot") and context.get("readOnlyRootFilesystem")):
            yield "the container is not held to non-root and a read-only root"


def _secret(name: str, keys: list[str]) -> Iterator[str]:
    if name not in SECRETS:
        yield f"docs/deploy.md makes no secret '{name}'"
    elif not set(keys) <= SECRETS[name]:
        yield f"secret '{name}' has no key {', '.join(sorted(set(keys) - SECRETS[name]))}"


def _references(objects: list[dict[str, Any]]) -> Iterator[str]:
    """Selectors, ports of services and targets of scaling meet something."""
    by_name = {_name(each): each for each in objects}
    deployments = [each for each in objects if each["kind"] == "Deployment"]
    services = [each for each in objects if each["kind"] == "Service"]
    if not deployments:
        return
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] == "Service":
            behind = [
                one for one in deployments if _selects(spec["selector"], one["spec"]["template"]["metadata"]["labels"])
            ]
            if not behind:
                yield f"{_name(each)}: it selects no pod"
            for port in spec["ports"]:
                named = {
                    item["name"] for one in behind for item in one["spec"]["template"]["spec"]["containers"][0]["ports"]
                }
                if port["targetPort"] not in named:
                    yield f"{_name(each)}: targetPort {port['targetPort']} is none of {sorted(named)}"
        elif each["kind"] in ("HorizontalPodAutoscaler", "ScaledObject"):
            target = spec["scaleTargetRef"]
            if f"{target.get('kind', 'Deployment')}/{target['name']}" not in by_name:
                yield f"{_name(each)}: there is no {target.get('kind')} '{target['name']}'"
        elif each["kind"] in ("PodDisruptionBudget", "NetworkPolicy"):
            labels = spec.get("selector", spec.get("podSelector", {})).get("matchLabels", {})
            if labels and not any(
                _selects(labels, one["spec"]["template"]["metadata"]["labels"]) for one in deployments
            ):
                yield f"{_name(each)}: it selects no pod"
        elif each["kind"] == "ServiceMonitor":
            yield from _of_monitor(each, services)
        elif each["kind"] in ("HTTPRoute", "GRPCRoute"):
            for backend in (backend for rule in spec["rules"] for backend in rule["backendRefs"]):
                service = by_name.get(f"Service/{backend['name']}")
                if service is None or backend["port"] not in [port["port"] for port in service["spec"]["ports"]]:
                    yield f"{_name(each)}: there is no service '{backend['name']}' with port {backend['port']}"


def _of_monitor(each: dict[str, Any], services: list[dict[str, Any]]) -> Iterator[str]:
    labels = each["spec"]["selector"]["matchLabels"]
    behind = [one for one in services if _selects(labels, one["metadata"].get("labels", {}))]
    if len(behind) != 1:
        yield f"{_name(each)}: it selects {len(behind)} services; each target would be scraped as often"
        return
    for endpoint in each["spec"]["endpoints"]:
        if endpoint["port"] not in [port["name"] for port in behind[0]["spec"]["ports"]]:
            yield f"{_name(each)}: service '{behind[0]['metadata']['name']}' has no port '{endpoint['port']}'"
        credentials = endpoint.get("authorization", {}).get("credentials")
        if credentials is not None:
            yield from _secret(credentials["name"], [credentials["key"]])


def _selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def main() -> int:
    """0 when every folder renders and is right; the faults on stderr otherwise."""
    failed = 0
    for folder in FOLDERS:
        try:
            objects = rendered(folder)
            found = faults(objects)
        except ValueError as error:
            found, objects = [str(error)], []
        for fault in found:
            print(f"deploy/{folder}: {fault}", file=sys.stderr)
        failed += len(found)
        if not found:
            print(f"deploy/{folder}: {len(objects)} objects are right (schemas of Kubernetes {VERSION})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
