"""The doors' policies by themselves: hosts, origins, forwarded addresses, keys, rates, and their order."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossover.protocol.errors import Code
from crossover.service.doors import Door, Pass, Refusal, forwarded, hosts, keys, origins, scopes
from crossover.service.doors.buckets import TokenBuckets
from crossover.service.doors.forwarded import Forwarded
from crossover.service.doors.hosts import AllowedHosts
from crossover.service.doors.keys import Scope
from crossover.service.doors.origins import Origins
from crossover.service.doors.scopes import Access

LABEL = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join).filter(lambda name: not name.replace(".", "").isdigit())
ADDRESS = st.ip_addresses()
PORT = st.integers(0, 65_535)


def written(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


# hosts


@given(ADDRESS, st.one_of(st.none(), PORT))
def test_every_address_passes_in_every_spelling(address, port):
    """IP literals are nobody's name; the long form of IPv6 and upper case are the same address."""
    allowed = AllowedHosts()
    spellings = {written(address), written(address).upper()}
    if address.version == 6:
        spellings.add(f"[{address.exploded}]")
    for text in spellings:
        found = hosts.parse(text if port is None else f"{text}:{port}")
        assert found == hosts.HostPort(str(address), port, is_address=True)
        assert allowed.allows(found)


@given(NAME, st.sampled_from(["", ".", ":80", ".:8080"]))
def test_a_name_passes_when_it_is_listed_and_only_then(name, rest):
    """Exactly, under a listed domain, or by *; never because a listed name is a part of it."""
    found = hosts.parse(name.upper() + rest)
    assert found is not None
    assert found.host == name
    is_local = name == "localhost" or name.endswith(".localhost")
    assert AllowedHosts().allows(found) is is_local
    assert AllowedHosts([name]).allows(found)
    assert AllowedHosts([], bound=name).allows(found)
    assert AllowedHosts(["*"]).allows(found)
    for other in (f"x{name}", f"{name}.x", f"x.{name}", name[1:]):
        if other and not is_local and other != name and other[0].isalnum():
            assert not AllowedHosts([other]).allows(found)
    below = hosts.parse(f"a.{name}")
    assert AllowedHosts([f".{name}"]).allows(below)
    assert AllowedHosts([f"*.{name}"]).allows(below)
    assert is_local or not AllowedHosts([f".{name}"]).allows(found)


@pytest.mark.parametrize(
    "text",
    ["", "a b", "a:b", "a:65536", "a:-1", "[::1", "::1", "[::1]x", "[::1%eth0]", "[127.0.0.1]", "user@localhost", "a/b", "a..",
     "localhost\x00", "é", "a,b", "[]", ":80", "localhost:80:80", "-a", "a\tb", "a" * 300],
)  # fmt: skip
def test_what_is_no_host_is_none(text):
    """Malformed hosts are told from foreign ones, and both are refused."""
    assert hosts.parse(text) is None


@pytest.mark.parametrize(
    "text", ["127.1", "0x7f.0.0.1", "2130706433", "017700000001", "localhost.evil.example", "127.0.0.1.nip.io"]
)
def test_what_looks_like_an_address_is_a_name(text):
    """Spellings of addresses that only some parsers take, and names that contain one, are names: not ours."""
    found = hosts.parse(text)
    assert found is not None
    assert not AllowedHosts().allows(found)


@given(st.text(max_size=60))
def test_any_text_is_a_host_or_none(text):
    """Whatever stands in Host, an answer comes, and what passes parses to itself again."""
    found = hosts.parse(text)
    if found is not None:
        again = f"[{found.host}]" if ":" in found.host else found.host
        assert hosts.parse(again).host == found.host


# origins

OWN = origins.parse("http://gateway.example:8080")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW", "post"])
@pytest.mark.parametrize(
    ("sent", "sites", "passes"),
    [
        ((), (), True),  # curl, tritonclient
        ((), ("same-origin",), True), ((), ("none",), True),
        ((), ("cross-site",), False), ((), ("same-site",), False), ((), ("Same-Origin",), False), ((), ("",), False),
        ((), ("same-origin", "cross-site"), False),
        (("http://gateway.example:8080",), (), True), (("HTTP://GATEWAY.EXAMPLE:8080",), ("same-origin",), True),
        (("http://gateway.example:8080",), ("cross-site",), False),
        (("http://gateway.example",), (), False), (("http://gateway.example:80",), (), False),
        (("https://gateway.example:8080",), (), False),
        (("http://gateway.example.evil.example:8080",), (), False), (("http://evil.example",), (), False),
        (("null",), (), False), (("",), (), False), (("*",), (), False), (("file://",), (), False),
        (("http://gateway.example:8080 http://evil.example",), (), False),
        (("http://gateway.example:8080", "http://evil.example"), (), False),
        (("http://gateway.example:8080", "http://gateway.example:8080"), (), False),
        (("http://user@gateway.example:8080",), (), False), (("http://gateway.example:8080/",), (), False),
    ],
)  # fmt: skip
def test_other_sites_pages_change_nothing(method, sent, sites, passes):
    """What changes something comes from our own pages or from no page at all."""
    sent, sites = (", ".join(values) if values else None for values in (sent, sites))
    assert (Origins().refusal(method, OWN, sent, sites) is None) is passes
    for safe in ("GET", "HEAD", "OPTIONS"):
        assert Origins().refusal(safe, OWN, sent, sites) is None


@given(st.one_of(NAME, ADDRESS.map(written)), st.sampled_from(["http", "https"]), st.one_of(st.none(), PORT))
def test_an_origin_has_one_form(host, scheme, port):
    """Case, default ports and spellings of addresses make no difference; it is written as browsers write it."""
    text = f"{scheme}://{host}" + ("" if port is None else f":{port}")
    found = origins.parse(text)
    assert found == origins.parse(text.upper()) == origins.parse(str(found))
    default = origins.DEFAULT_PORTS[scheme]
    assert (origins.parse(f"{scheme}://{host}:{default}") == found) is (port in (None, default))
    assert Origins().refusal("POST", found, text, None) is None


def test_origins_by_setting():
    """CORS_ALLOW_ORIGINS lets the named pages in, also when the browser says that they are of another site."""
    allowed = Origins(["https://app.example", "http://localhost:3000"])
    assert allowed.refusal("POST", OWN, "https://APP.example", "cross-site") is None
    assert allowed.refusal("POST", OWN, "https://app.example:8443", "cross-site")
    assert allowed.refusal("POST", OWN, "null", "cross-site")
    assert Origins(["*"]).refusal("POST", OWN, "null", "cross-site") is None
    assert dict(allowed.fields("https://app.example"))[b"access-control-allow-origin"] == b"https://app.example"
    assert dict(allowed.fields("https://evil.example")) == dict(allowed.fields(None)) == {b"vary": b"Origin"}
    assert Origins().fields("https://app.example") == []
    for wrong in ("app.example", "https://", "ftp://a", "https://a/b", "null"):
        with pytest.raises(ValueError, match="not an origin"):
            Origins([wrong])


# forwarded addresses


@given(st.lists(ADDRESS, min_size=1, max_size=6), ADDRESS, st.integers(0, 6))
def test_forwarded_for_counts_as_far_as_trusted_hops_wrote_it(chain, peer, trusted):
    """Read from its end: the first hop that is not trusted is the caller, whatever stands before it."""
    proxies = [peer, *reversed(chain)][:trusted]
    forwarding = Forwarded(map(str, proxies))
    trusted_hops = {getattr(proxy, "ipv4_mapped", None) or proxy for proxy in proxies}
    expected = getattr(peer, "ipv4_mapped", None) or peer
    for hop in reversed(chain):
        if expected not in trusted_hops:
            break
        expected = getattr(hop, "ipv4_mapped", None) or hop
    assert forwarding.client(str(peer), ", ".join(map(str, chain))) == str(expected)
    assert Forwarded().client(str(peer), "1.2.3.4") == str(getattr(peer, "ipv4_mapped", None) or peer)


def test_forwarded_for_in_practice():
    """Networks, several fields, ports, garbage, and a spoofed beginning."""
    proxies = Forwarded(["10.0.0.0/8", "::1"])
    assert proxies.client("10.1.1.1", "6.6.6.6, 9.9.9.9, 10.2.2.2") == "9.9.9.9"
    assert proxies.client("::ffff:10.1.1.1", "9.9.9.9:1234") == "9.9.9.9"
    assert proxies.client("::1", "[2001:db8::7]:99") == "2001:db8::7"
    assert proxies.client("10.1.1.1", "9.9.9.9, nonsense") == "10.1.1.1"
    assert proxies.client("10.1.1.1", "") == "10.1.1.1"
    assert proxies.client("11.1.1.1", "9.9.9.9") == "11.1.1.1"
    assert proxies.client("", "9.9.9.9") == ""
    assert Forwarded(["*"]).client("11.1.1.1", "9.9.9.9, 8.8.8.8") == "9.9.9.9"
    assert forwarded.caller_of("2001:db8::7") == forwarded.caller_of("2001:db8::ffff") == "2001:db8::/64"
    with pytest.raises(ValueError, match="neither an address nor a network"):
        Forwarded(["proxy.example"])


# keys


@given(st.lists(st.tuples(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,20}", fullmatch=True), st.sets(st.sampled_from(Scope), min_size=1)),
                unique_by=lambda item: item[0], max_size=8))  # fmt: skip
def test_a_keys_file_says_again_what_was_written(entries):
    """Names, scopes and digests come back; the file shows no key; each key is found, and nothing else."""
    tokens = [keys.new_token() for _ in entries]
    made = [
        keys.Key(name, frozenset(held), keys.digest_of(token))
        for (name, held), token in zip(entries, tokens, strict=True)
    ]
    text = keys.heading() + "".join(map(keys.line_of, made))
    ring = keys.parse(text.encode())
    assert list(ring.keys) == made
    for key, token in zip(made, tokens, strict=True):
        assert token not in text
        assert ring.find(token) == key
        for wrong in (token[:-1], token + "x", token.swapcase(), "", "x" * 5000):
            assert ring.find(wrong) is None


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "empty"), (b"\xff\xfe", "UTF-8"), (b"ann infer", "line 1"), (b"# x\n\nann infer sha256:00", "line 3"),
     (b"ann infer sha256:" + b"0" * 64 + b"\nann infer sha256:" + b"1" * 64, "already"),
     (b"ann root sha256:" + b"0" * 64, "'root' is not a scope"), (b"a/b infer sha256:" + b"0" * 64, "not a key's name"),
     (b"ann infer xok_thekeyitself", "line 1")],
)  # fmt: skip
def test_a_broken_keys_file_is_one_sentence(content, says):
    """It says which line is wrong, and never shows what may be a key."""
    with pytest.raises(keys.KeysFileError) as caught:
        keys.parse(content)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "thekeyitself" not in str(caught.value)


# rates


@given(
    st.floats(0.1, 1000), st.integers(1, 50),
    st.lists(st.tuples(st.floats(0, 3), st.sampled_from("ab")), min_size=1, max_size=60),
)  # fmt: skip
def test_buckets_do_what_counting_tokens_does(rate, burst, steps):
    """The one number of a bucket says the same as a count of tokens that fills with time."""
    now = 0.0
    buckets = TokenBuckets(rate, burst, clock=lambda: now)
    tokens, seen = dict.fromkeys("ab", float(burst)), dict.fromkeys("ab", 0.0)
    for pause, caller in steps:
        now += pause
        tokens[caller] = min(float(burst), tokens[caller] + (now - seen[caller]) * rate)
        seen[caller] = now
        taken = buckets.take(caller)
        if abs(tokens[caller] - 1) > 1e-6:
            assert taken.allowed is (tokens[caller] >= 1)
        if taken.allowed:
            tokens[caller] -= 1
        else:
            assert taken.retry_in == pytest.approx((1 - tokens[caller]) / rate, abs=1e-6)
        assert abs(taken.remaining - tokens[caller]) < 1.001
        assert taken.full_in == pytest.approx((burst - tokens[caller]) / rate, abs=1e-6)


def test_callers_cannot_make_the_table_grow():
    """At its bound the caller who was silent for longest is forgotten; who asks on is not."""
    now = 0.0
    buckets = TokenBuckets(1, 1, most_callers=10, clock=lambda: now)
    assert buckets.take("steady").allowed
    for number in range(1000):
        now += 0.0001
        buckets.take(f"made up {number}")
        assert not buckets.take("steady").allowed
        assert len(buckets) <= 10


# scopes


@pytest.mark.parametrize(
    ("path", "need"),
    [
        ("/", Access.HEALTH), ("/v2/health/live", Access.HEALTH), ("/v2/health/ready", Access.HEALTH),
        ("/v2/models/m/ready", Access.HEALTH), ("/v2/models/m/versions/1/ready", Access.HEALTH),
        ("/v2/models/a%2Fb/ready", Scope.INFER), ("/v2/models/m/infer", Scope.INFER), ("/v2", Scope.INFER),
        ("/v2/repository/index", Scope.INFER), ("/v2/models/stats", Scope.INFER), ("/v1/models/m:predict", Scope.INFER),
        ("/v2/repository/models/m/load", Scope.CONTROL), ("/v2/repository/models/m/unload", Scope.CONTROL),
        ("/v2/repository/r/models/m/unload", Scope.CONTROL), ("/v2/logging", Scope.CONTROL),
        ("/v2/systemsharedmemory/status", Scope.CONTROL), ("/api", Scope.PREDICTIONS),
        ("/api/predictions", Scope.PREDICTIONS), ("/%61pi/predictions", Scope.PREDICTIONS), ("/metrics", Scope.METRICS),
        ("/reports", Scope.METRICS), ("/reports/x", Scope.METRICS), ("/docs", Access.PUBLIC), ("/static/docs.js", Access.PUBLIC),
        ("/openapi.json", Access.PUBLIC), ("/v2/health/live/x", Scope.INFER), ("/V2/health/live", Access.ANY_KEY),
        ("//api", Access.ANY_KEY), ("/nothing", Access.ANY_KEY), ("/v2/models/x/../ready", Scope.INFER), ("*", Access.ANY_KEY),
        ("/v2/models/m\n/ready", Access.HEALTH), ("/%0a", Access.ANY_KEY),
    ],
)  # fmt: skip
def test_scopes_of_paths(path, need):
    """One table, on the decoded path; what it does not know needs a key."""
    assert scopes.of_http(path.encode()) is need


# the door


TOKEN = keys.new_token()
RING = keys.KeyRing([keys.Key("ann", frozenset({Scope.INFER}), keys.digest_of(TOKEN))])


def door(*, ring=None, buckets=None, allowed=(), cors=(), proxies=()):
    return Door(AllowedHosts(allowed), Origins(cors), Forwarded(proxies), (lambda: ring) if ring else None, buckets)


@dataclass
class Asked:
    method: str
    path: bytes
    by_name: dict[str, str]
    authority: str


def asked(at, method="POST", path="/v2/models/m/infer", peer="9.9.9.9", scheme="http", host="localhost", **fields):
    """The code and the fields of what a door says."""
    by_name = {name.replace("_", "-"): value for name, value in fields.items()}
    said = at.check(Asked(method, path.encode(), {"host": host, **by_name}, host), peer, scheme)
    return said.error.code if isinstance(said, Refusal) and said.error else None, dict(said.fields), said


def test_keys_at_the_door():
    """401 without a key and with a wrong one, 403 with one that does not allow this, each with its challenge (RFC 6750 3)."""
    at = door(ring=RING)
    for missing in ({}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer"}, {"authorization": TOKEN}):
        code, fields, _ = asked(at, **missing)
        assert (code, fields[b"www-authenticate"]) == (Code.UNAUTHENTICATED, b'Bearer realm="crossover"')
    for wrong in ("Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN} {TOKEN}"):
        code, fields, _ = asked(at, authorization=wrong)
        assert code is Code.UNAUTHENTICATED
        assert b'error="invalid_token"' in fields[b"www-authenticate"]
    code, fields, _ = asked(at, authorization=f"Bearer {TOKEN}", path="/metrics")
    assert code is Code.INSUFFICIENT_SCOPE
    assert b'error="insufficient_scope"' in fields[b"www-authenticate"]
    assert b'scope="metrics"' in fields[b"www-authenticate"]
    for right in (f"Bearer {TOKEN}", f"bearer  {TOKEN}"):
        assert asked(at, authorization=right)[:2] == (None, {})
    code, fields, _ = asked(at, authorization=f"Bearer {TOKEN}, Bearer {TOKEN}")
    assert code is Code.INVALID_ARGUMENT
    assert b'error="invalid_request"' in fields[b"www-authenticate"]
    for path in ("/", "/v2/health/live", "/v2/models/m/ready", "/docs"):
        assert asked(at, method="GET", path=path)[0] is None


def test_calls_at_the_door():
    """The same over gRPC, for every method but health, reflection too."""
    at = door(ring=RING)
    infer, load = (f"/inference.GRPCInferenceService/{name}" for name in ("ModelInfer", "RepositoryModelLoad"))
    bearer = (("authorization", f"Bearer {TOKEN}"),)
    for path in (
        infer,
        load,
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/List",
        "/x/y",
    ):
        assert at.check_call(path, (), "").code is Code.UNAUTHENTICATED
    assert at.check_call(infer, bearer, "") is None
    assert at.check_call(load, bearer, "").code is Code.INSUFFICIENT_SCOPE
    assert at.check_call("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", bearer, "") is None
    for path in (
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/inference.GRPCInferenceService/ServerLive",
    ):
        assert at.check_call(path, (), "") is None


def test_rates_at_the_door():
    """A key has a rate of its own wherever it comes from; without one, and with a wrong one, its address has; health has none."""
    at = door(ring=RING, buckets=TokenBuckets(1, 2, clock=lambda: 0.0), proxies=["10.0.0.1"])
    bearer = f"Bearer {TOKEN}"
    code, fields, _ = asked(at, authorization=bearer)
    assert code is None
    assert (fields[b"ratelimit-policy"], fields[b"ratelimit"]) == (b'"rate";q=2;w=2', b'"rate";r=1;t=1')
    assert asked(at, authorization=bearer, peer="8.8.8.8")[0] is None
    code, fields, said = asked(at, authorization=bearer)
    assert (code, said.error.retry_after) == (Code.OVERLOADED, 1.0)
    assert fields[b"ratelimit"] == b'"rate";r=0;t=2'
    codes = [asked(at, peer="7.7.7.7")[0] for _ in range(3)]
    assert codes == [Code.UNAUTHENTICATED, Code.UNAUTHENTICATED, Code.OVERLOADED]
    assert asked(at, peer="10.0.0.1", x_forwarded_for="7.7.7.7")[0] is Code.OVERLOADED
    assert asked(at, peer="10.0.0.1", x_forwarded_for="7.7.7.8")[0] is Code.UNAUTHENTICATED
    assert asked(at, peer="7.7.7.7", x_forwarded_for="1.1.1.1")[0] is Code.OVERLOADED
    for _ in range(20):
        assert asked(at, method="GET", path="/v2/health/live", peer="7.7.7.7")[0] is None
    assert (
        at.check_call("/inference.GRPCInferenceService/ModelInfer", (("authorization", bearer),), "").code
        is Code.OVERLOADED
    )


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, None), ({"host": "evil.example"}, Code.MISDIRECTED), ({"host": "evil.example", "method": "GET"}, Code.MISDIRECTED),
        ({"host": "evil.example", "path": "/v2/health/live", "method": "GET"}, Code.MISDIRECTED),
        ({"host": "a b"}, Code.MISDIRECTED), ({"host": "ok.example"}, None), ({"host": ""}, None),
        ({"host": "evil.example", "origin": "http://evil.example"}, Code.MISDIRECTED),
        ({"origin": "http://evil.example"}, Code.PERMISSION_DENIED),
        ({"origin": "http://evil.example", "content_type": "text/plain"}, Code.PERMISSION_DENIED),
        ({"content_type": "text/plain"}, None), ({"origin": "http://localhost"}, None), ({"origin": "http://localhost:80"}, None),
        ({"origin": "https://localhost"}, Code.PERMISSION_DENIED), ({"origin": "https://localhost", "scheme": "https"}, None),
        ({"origin": "https://localhost", "x_forwarded_proto": "https"}, Code.PERMISSION_DENIED),
        ({"origin": "https://localhost", "x_forwarded_proto": "https", "peer": "10.0.0.1"}, None),
        ({"sec_fetch_site": "cross-site"}, Code.PERMISSION_DENIED), ({"sec_fetch_site": "none"}, None),
        ({"sec_fetch_site": "cross-site", "method": "GET"}, None),
        ({"sec_fetch_site": "cross-site", "origin": "https://app.example"}, None),
    ],
)  # fmt: skip
def test_hosts_and_origins_at_the_door(given, code):
    """Names that are not ours are 421 whatever is asked; pages of others change nothing."""
    at = door(allowed=["ok.example"], cors=["https://app.example"], proxies=["10.0.0.1"])
    for _ in range(2):  # what was remembered says the same
        assert asked(at, **given)[0] is code


def test_preflights():
    """An allowed origin's preflight is answered without a key; another's goes on, and finds no permission in the reply."""
    at = door(ring=RING, cors=["https://app.example"])
    wanted = {
        "method": "OPTIONS",
        "access_control_request_method": "POST",
        "access_control_request_headers": "authorization",
    }
    _, fields, said = asked(at, origin="https://app.example", **wanted)
    assert isinstance(said, Refusal)
    assert said.error is None
    assert fields[b"access-control-allow-origin"] == b"https://app.example"
    assert fields[b"access-control-allow-headers"] == b"authorization"
    assert b"POST" in fields[b"access-control-allow-methods"]
    code, fields, _ = asked(at, origin="https://evil.example", **wanted)
    assert code is Code.UNAUTHENTICATED
    assert b"access-control-allow-origin" not in fields
    code, fields, _ = asked(at, method="GET", path="/v2", origin="https://app.example", authorization=f"Bearer {TOKEN}")
    assert (code, fields[b"access-control-allow-origin"], fields[b"vary"]) == (None, b"https://app.example", b"Origin")


FIELDS = st.dictionaries(
    st.sampled_from(["origin", "sec-fetch-site", "authorization", "x-forwarded-for", "access-control-request-method"]),
    st.binary(max_size=40).map(lambda value: value.decode("latin-1")),
)


@given(FIELDS, st.binary(max_size=40), st.binary(max_size=30), st.sampled_from(["GET", "POST", "OPTIONS"]))
def test_whatever_a_head_holds_is_answered(fields, authority, path, method):
    """No bytes in a head make the door fail, and a refusal's sentence has no control characters."""
    at = door(ring=RING, buckets=TokenBuckets(5, 5), cors=["https://app.example"], proxies=["9.9.9.9"])
    said = at.check(Asked(method, path, fields, authority.decode("latin-1")), "9.9.9.9", "http")
    assert isinstance(said, Pass | Refusal)
    if isinstance(said, Refusal) and said.error is not None:
        assert said.error.message.isprintable()
