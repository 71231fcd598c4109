"""A small Ray cluster that serves a configuration file, as `serve run FILE` on a machine of its own would:
`python ray_cluster.py FILE TEMPORARY_FOLDER`. Run by the Python that has Ray.

A line of JSON on standard output whenever the states of the application's replicas have changed. Ends on SIGTERM, and all
that it started with it.
"""

from __future__ import annotations

import json
import signal
import sys
import time

import ray
from ray import serve
from ray.serve.scripts import cli


def main(configuration: str, folder: str) -> None:
    stopped: list[bool] = []
    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=200 << 20, namespace="serve", _temp_dir=folder,
        _node_ip_address="127.0.0.1", log_to_driver=False,
    )  # fmt: skip
    try:
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))  # after Ray has set its own, which aborts
        cli(["run", "--non-blocking", configuration], standalone_mode=False)
        told = None
        while not stopped:
            told = tell(told)
            time.sleep(0.2)
    finally:
        serve.shutdown()
        ray.shutdown()


def tell(before: object) -> object:
    found = {
        name: {
            "application": app.status,
            "replicas": {str(state): count for one in app.deployments.values() for state, count in one.replica_states.items()},
            "message": app.message,
        }
        for name, app in serve.status().applications.items()
    }  # fmt: skip
    if found != before:
        print(json.dumps(found, default=str), flush=True)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
