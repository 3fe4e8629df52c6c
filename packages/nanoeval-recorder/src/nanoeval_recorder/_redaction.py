"""Keeps secrets out of the description of a run: by the name of a field, and by its value."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"
MIN_SECRET = 6  # shorter values of environment variables are no secrets, and occur by chance

_WORDS = (
    "api_?key|apikey|secret|token|password|passwd|passphrase|credentials?|auth|authorization|"
    "private_?key|access_?key|bearer|cookie|dsn|connection_?string"
)
_SECRET_NAME = re.compile(rf"(?:^|[^a-z]|_)(?:{_WORDS})(?:$|[^a-z]|_)", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SECRET_TEXT = re.compile(
    r"""(?x)
    \b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}             # model providers, payment providers
    | \b(?:hf|gh[pousr]|glpat|xox[abprs]|github_pat|npm|pypi)[-_][A-Za-z0-9_-]{16,}
    | \bA(?:KIA|SIA)[A-Z0-9]{16}\b                # AWS
    | \bAIza[A-Za-z0-9_-]{30,}                    # Google
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*   # JSON web tokens
    | (?<=://)[^/\s:@]*:[^/\s@]+(?=@)             # user:password in a URL
    | (?i:(?<=bearer\s))[A-Za-z0-9._~+/=-]{8,}
    | -----BEGIN[ A-Z]*PRIVATE\ KEY-----[^-]*(?:-----END[ A-Z]*PRIVATE\ KEY-----)?
    """
)
# NAME=value, NAME: value and --NAME value in a command line or other text
_SECRET_PAIR = re.compile(
    rf"(?i)((?:^|[\s,;?&'\"({{.-]|_)(?:[a-z0-9_.-]*[_.-])?(?:{_WORDS})['\"]?\s*(?:=|:\s)\s*['\"]?)"
    r"([^\s,;&'\"})]+)"
)
_SECRET_OPTION = re.compile(rf"(?i)(\s--?(?:[a-z0-9_.-]*[_.-])?(?:{_WORDS})\s+)([^\s-][^\s]*)")


def is_secret_name(name: str) -> bool:
    """Whether a field called `name` holds a secret: `api_key` does, `max_tokens` does not.

    Nor does `api_key_env`, which names a variable of the environment.
    """
    return not name.endswith("_env") and _SECRET_NAME.search(_CAMEL.sub("_", name)) is not None


def secret_values(environ: Mapping[str, str] | None = None) -> list[str]:
    """The values of environment variables whose names say that they are secret, longest first."""
    variables = os.environ if environ is None else environ
    values = {
        value.strip()
        for name, value in variables.items()
        # A path, such as SSH_AUTH_SOCK's, says where a secret is, and is none.
        if is_secret_name(name) and len(value.strip()) >= MIN_SECRET and not _is_path(value)
    }
    return sorted(values, key=len, reverse=True)


def _is_path(value: str) -> bool:
    return value.startswith(os.sep) and os.path.exists(value)


class Redactor:
    """Replaces secrets in JSON-like values by `[redacted]`."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._secrets = secret_values(environ)

    def text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        text = _SECRET_TEXT.sub(REDACTED, text)
        text = _SECRET_PAIR.sub(rf"\1{REDACTED}", text)
        return _SECRET_OPTION.sub(rf"\1{REDACTED}", text)

    def value(self, value: Any) -> Any:
        """A copy of `value` (dicts, lists and scalars) without secrets."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(k)): self._field(str(k), v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(part) for part in value]
        return value

    def _field(self, name: str, value: Any) -> Any:
        last = name.rsplit(".", 1)[-1]
        if is_secret_name(last) and value not in (None, "", False, True):
            return REDACTED
        return self.value(value)
