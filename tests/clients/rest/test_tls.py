"""HTTPS between client and service."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.transport.tls import Tls
from tests.endpoints.rest.service import served

BIG = Tensor.from_array("x", np.arange(200_000, dtype=np.float32).reshape(-1, 2))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Tls:
    """A certificate for localhost that is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return Tls(cert, key)


@pytest.mark.parametrize("wire", ["rest", "rest-binary"])
async def test_calls_over_tls(certificate, connect, wire):
    """With the service's authority the same calls work over HTTPS, large ones too."""
    async with served(tls=certificate) as service:
        client = connect(service.url, wire, tls_ca=certificate.cert)
        for _ in range(2):
            response = await client.infer(InferRequest("echo", [BIG]), CallContext())
            np.testing.assert_array_equal(response.output("x").array, BIG.array)


async def test_a_service_must_show_a_certificate_that_is_trusted(certificate, connect):
    """Without its authority the call is refused in one sentence."""
    async with served(tls=certificate) as service:
        with pytest.raises(InferenceError, match="no TLS connection to https://") as caught:
            await connect(service.url).infer(InferRequest("echo", [BIG]), CallContext())
        assert caught.value.code is Code.UNAVAILABLE


async def test_a_client_must_show_a_certificate_where_the_service_asks(certificate, connect):
    """Mutual TLS: with a certificate of the authority it works, without one it does not."""
    mutual = Tls(certificate.cert, certificate.key, certificate.cert)
    async with served(tls=mutual) as service:
        shown = {"tls_cert": certificate.cert, "tls_key": certificate.key}
        client = connect(service.url, tls_ca=certificate.cert, **shown)
        assert await client.server_ready(CallContext())
        with pytest.raises(InferenceError) as caught:
            await connect(service.url, tls_ca=certificate.cert).server_ready(CallContext())
        assert caught.value.code is Code.UNAVAILABLE


async def test_plain_http_towards_a_tls_port_is_one_sentence(certificate, connect):
    """The wrong scheme is an error that names the target."""
    async with served(tls=certificate) as service:
        url = service.url.replace("https", "http")
        with pytest.raises(InferenceError, match=url) as caught:
            await connect(url).server_ready(CallContext())
        assert caught.value.code in (Code.UNAVAILABLE, Code.UNKNOWN)


def test_missing_files_are_one_sentence(connect):
    """A CA file that is not there is named with the target."""
    with pytest.raises(InferenceError, match="TLS files for https://localhost:1"):
        connect("https://localhost:1", tls_ca=Path("/nowhere/ca.pem"))
