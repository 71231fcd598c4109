"""What every room's tests share: the checkout, free ports, a browser, and the rule that CI skips nothing."""

from __future__ import annotations

import gc
import os
import signal
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]


# A property is looked at in some cases each time, and in many by `make test-all`. How long a case takes on a busy machine is
# no property of ours.
for profile, examples in (("some", 40), ("many", 200)):
    settings.register_profile(
        profile, max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile("some")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def browser():
    """A real Chromium. Playwright keeps an event loop running while it lives, so it ends before other tests need theirs."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing; on Debian it is the package chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def settled_collector():
    """What the tests before have made is left out of garbage collections, as a service leaves out what it imported."""
    gc.collect()
    gc.freeze()


def pytest_configure():
    """Children inherit an ignored SIGINT, as of a run in the background; tests send it to them, and mean it.

    They keep the bytecode that they compile: a container that forbids it would have each of hundreds compile everything anew.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_finish():
    """Seven thousand tests are half a second of every full collection, and stay as long as the run does."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """On a user's machine a test that misses something skips with its reason; in CI that is a failure."""
    report = yield
    # What was logged may hold half of a surrogate pair, which no report between two processes can.
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode("utf-8")) for name, text in report.sections
    ]
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be missing: {report.longrepr}"
    return report
