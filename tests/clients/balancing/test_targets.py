"""What a target setting may say, and the sentence for what it may not."""

from __future__ import annotations

import pytest

from crossover.clients.balancing import targets
from crossover.clients.balancing.targets import Endpoint, Listing, Name


def addresses(kind, text, **more):
    return [part.address if isinstance(part, Endpoint) else part for part in targets.parse(kind, text, **more)]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("grpc", "a:1", ["a:1"]),
        ("grpc", "a:1,b:2", ["a:1", "b:2"]),
        ("grpc", " a:1 , b:2 ", ["a:1", "b:2"]),
        ("grpc", "a:1,a:1,b:2", ["a:1", "b:2"]),
        ("grpc", "ipv4:10.0.0.7:1,10.0.0.8:2", ["10.0.0.7:1", "10.0.0.8:2"]),
        ("grpc", "ipv6:[fd00::7]:1,[::1]:2", ["[fd00::7]:1", "[::1]:2"]),
        ("grpc", "dns:///models:8001", [Name("models", 8001)]),
        ("grpc", "dns:models:8001,a:1", [Name("models", 8001), "a:1"]),
        ("grpc", "unix:/run/a.sock,a:1", ["unix:/run/a.sock", "a:1"]),
        ("rest", "http://a:1,https://b/x", ["http://a:1", "https://b/x"]),
        ("rest", "a:1,[::1]:2", ["http://a:1", "http://[::1]:2"]),
        ("rest", "dns:///models:8000", [Name("models", 8000)]),
        ("rest", "unix:/run/a.sock", ["unix:/run/a.sock"]),
    ],
)
def test_what_is_taken(kind, text, expected):
    """Lists, names and sockets, with the same replica once."""
    assert addresses(kind, text) == expected


def test_a_file_is_named_with_an_at_sign(tmp_path):
    """One address a line; empty lines and comments are skipped, and a line may be a list or a name."""
    file = tmp_path / "replicas"
    file.write_text("# two\na:1\n\n  b:2,c:3\ndns:///models:4\n")
    (listing,) = targets.parse("grpc", f"@{file}")
    assert listing == Listing(file)
    assert targets.read("grpc", listing) == [Endpoint("a:1"), Endpoint("b:2"), Endpoint("c:3"), Name("models", 4)]


def test_addresses_of_a_name_keep_it_as_authority():
    """Certificates and virtual hosts are asked for by the name, not by the number."""
    (name,) = targets.parse("rest", "dns:///models:8000", secure=True)
    assert name.endpoint("rest", "10.0.0.7") == Endpoint("https://10.0.0.7:8000", "models:8000")
    assert name.endpoint("grpc", "fd00::7") == Endpoint("[fd00::7]:8000", "models:8000")


@pytest.mark.parametrize("kind", ["grpc", "rest"])
@pytest.mark.parametrize(
    "text",
    ["", "a", "a:", ":1", "a:b", "a:0", "a:99999", "a:1,", ",a:1", "a:1,,b:2", "@", "unix:", "dns:///", "dns:///a", "dns:///a:0",
     "a:1 b:2", "[::1", "a:1,b", "a:1,@"],
)  # fmt: skip
def test_what_is_refused(kind, text):
    """One sentence, for each part of a list."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        targets.check(kind, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["http://a:1", "grpc://a:1"])
def test_grpc_takes_no_urls(text):
    """They are REST's."""
    with pytest.raises(ValueError, match="it takes host:port"):
        targets.check("grpc", text)


@pytest.mark.parametrize(
    "text", ["http://", "ftp://a:1", "http://a:99999", "http://a:x", "http://a:1/ b", "http://a:1,http://"]
)
def test_rest_takes_whole_urls(text):
    """Of http and https, with a host and a port that there is."""
    with pytest.raises(ValueError, match="it takes a URL"):
        targets.check("rest", text)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: no such file"),
        (b"", "has no address"),
        (b"# none\n", "has no address"),
        (b"a:1\nb\n", "line 2 of .* is 'b'; it takes host:port"),
        (b"@other\n", "names no other file"),
        (b"\xff\xfe", "it is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path, content, says):
    """With the line, where it is one."""
    file = tmp_path / "replicas"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=says):
        targets.check("grpc", f"@{file}")


@pytest.mark.parametrize("kind", ["grpc", "rest"])
@pytest.mark.parametrize("host", ["a..b", "a" * 64, "a;b", "a\0b", "256.1.1.1", "1", "[1]", "[a]", "[::::]"])
def test_what_is_no_host_is_refused(kind, host):
    """Where a lookup could only fail, or raise what nobody expects, the setting is wrong already."""
    for text in (
        f"{host}:80",
        f"a:1,{host}:80",
        f"dns:///{host}:80",
        *([f"http://{host}:80"] if kind == "rest" else []),
    ):
        with pytest.raises(ValueError, match=r"neither a host name nor an IP address|it takes a URL"):
            targets.check(kind, text)


@pytest.mark.parametrize("host", ["a_b-c.example.", "münchen.example", "10.0.0.7", "[fe80::1%eth0]"])
def test_every_way_to_name_a_host_is_taken(host):
    """Names with underscores (compose), dots at the end and letters beyond ASCII, and addresses with a scope."""
    assert addresses("grpc", f"{host}:80") == [f"{host}:80"]
    assert addresses("rest", f"{host}:80") == [f"http://{host}:80"]


@pytest.mark.parametrize("text", ["http://me:secret@a:1", "http://a:1/x?y=z", "http://a:1/x#y", "http://a:1/é"])
def test_what_would_not_be_sent_is_refused(text):
    """A base URL has nothing beyond its path; a password in it is not repeated."""
    with pytest.raises(ValueError, match="a base URL has no user, query or fragment") as caught:
        targets.check("rest", f"{text},http://b:1")
    assert "secret" not in str(caught.value)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    """As some editors write it; it is no part of the first address."""
    file = tmp_path / "replicas"
    file.write_text("a:1\r\nb:2\r\n", "utf-8-sig")
    assert targets.read("grpc", Listing(file)) == [Endpoint("a:1"), Endpoint("b:2")]
