from __future__ import annotations

import pytest
from nanoeval_monitor._access import COOKIE, TOKEN_HEADER, Access, is_loopback
from starlette.datastructures import Headers
from starlette.requests import Request

HERE = Access("127.0.0.1", "secret-token")
OPEN = Access("0.0.0.0", "secret-token")


def refusal(access: Access, method: str, headers: dict[str, str], query: str) -> str | None:
    scope = {"type": "http", "method": method, "query_string": query.encode()}
    return access.refusal(Request({**scope, "headers": Headers(headers).raw}))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org", "localhost.evil.org"])
def test_elsewhere(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host", ["localhost:8640", "LocalHost:8640", "127.0.0.1", "[::1]:8640", "[::1]"]
)
def test_on_loopback_reading_is_free(host: str) -> None:
    assert refusal(HERE, "GET", {"host": host}, "") is None


@pytest.mark.parametrize(
    "host", ["evil.org", "evil.org:8640", "127.0.0.1.evil.org", "127.0.0.1:80@evil.org", ""]
)
def test_names_that_are_not_ours_are_refused(host: str) -> None:
    assert refusal(HERE, "GET", {"host": host}, "token=secret-token") is not None


@pytest.mark.parametrize("access", [HERE, OPEN])
def test_changes_need_the_token_in_its_header(access: Access) -> None:
    host = {"host": "localhost"}
    right = {**host, TOKEN_HEADER: "secret-token"}
    assert refusal(access, "POST", right, "") is None
    for headers, query in [
        (host, ""),
        (host, "token=secret-token"),
        ({**host, "cookie": f"{COOKIE}=secret-token"}, ""),
        ({**host, TOKEN_HEADER: "secret-toke"}, ""),
        ({**host, TOKEN_HEADER: ""}, ""),
    ]:
        assert refusal(access, "POST", headers, query) is not None


def test_elsewhere_reading_needs_the_token_too() -> None:
    host = {"host": "box.example.org:8640"}
    assert refusal(OPEN, "GET", host, "") is not None
    assert refusal(OPEN, "GET", host, "token=wrong-token") is not None
    assert refusal(OPEN, "GET", host, "token=secret-token") is None
    assert refusal(OPEN, "GET", {**host, TOKEN_HEADER: "secret-token"}, "") is None
    cookie = {**host, "cookie": f"other=1; {COOKIE}=secret-token"}
    assert refusal(OPEN, "GET", cookie, "") is None
    assert refusal(OPEN, "GET", {**host, "cookie": f"{COOKIE}=no"}, "") is not None
