"""Who may ask the monitor, and what.

On loopback anyone on this machine may read: browsers are kept from being used as a bridge by
checking the `Host` that was asked for. Anywhere else every request needs the token. What changes
something always needs it, in a header that no other site's page can send.
"""

from __future__ import annotations

import dataclasses
import hmac
import ipaddress
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_HEADER = "x-nanoeval-token"
COOKIE = "nanoeval-monitor"
READING = frozenset({"GET", "HEAD"})

SECURITY_HEADERS: Mapping[str, str] = {
    # No inline script, nothing from elsewhere: a reply that got through escaping could do nothing.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that listens at `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """The rule: `host` is where the server listens."""

    host: str
    token: str

    def refusal(self, request: Request) -> str | None:
        """Return why a request is refused, or None."""
        in_header = request.headers.get(TOKEN_HEADER)
        if is_loopback(self.host) and not _names_this_machine(request.headers.get("host", "")):
            return "this monitor answers requests for localhost only"
        if request.method not in READING:
            if not self.is_token(in_header):
                return "changing something needs the token: open the URL that the monitor printed"
            return None
        if is_loopback(self.host):
            return None
        given = (in_header, request.query_params.get("token"), request.cookies.get(COOKIE))
        if any(map(self.is_token, given)):
            return None
        return "open the whole URL that the monitor printed, with its token"

    def is_token(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), self.token.encode())


def _names_this_machine(host: str) -> bool:
    name, colon, port = host.lower().rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host.lower(), ""  # without a port
    return (port.isdecimal() or not port) and is_loopback(name.strip("[]"))


class Guard:
    """Refuses what `Access` refuses, and gives every answer the security headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        request = Request(scope)

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                if self._access.is_token(request.query_params.get("token")):
                    cookie = f"{COOKIE}={self._access.token}; HttpOnly; SameSite=Strict; Path=/"
                    headers.append("set-cookie", cookie)
            await send(message)

        refusal = self._access.refusal(request)
        app = PlainTextResponse(f"{refusal}\n", status_code=403) if refusal else self._app
        await app(scope, receive, send_safely)
