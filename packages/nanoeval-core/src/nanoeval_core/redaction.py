"""Keeps secrets out of what describes a run: by the name of a field, and by its value."""

from __future__ import annotations

import functools
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["REDACTED", "Redactor", "is_secret_name", "secret_values"]

REDACTED = "[redacted]"
MIN_SECRET = 6  # shorter values of environment variables are no secrets, and occur by chance

_WORDS = (
    "api[_-]?key|secret|token|password|passwd|passphrase|credentials?|auth|authorization|"
    "private[_-]?key|access[_-]?key|bearer|cookie|dsn|connection[_-]?string|"
    # `answer_key` and `sort_key` are not, so keys are secret by whose or what for they are
    "(?:openai|anthropic|azure|google|gemini|mistral|cohere|groq|together|openrouter|deepseek|"
    "huggingface|hf|wandb|aws|gcp|ssh|signing|encryption|master|subscription|account|service)"
    "[_-]?key|(?:db|smtp|mail|user|admin|root|redis|mysql|postgres|pg|proxy)[_-]?pass"
)
_AT_END = "pwd|pat"  # secret as the last word of a name only
_FOLDERS = frozenset({"PWD", "OLDPWD"})
_SECRET_NAME = re.compile(
    rf"(?:^|[^a-z]|_)(?:(?:{_WORDS})(?:$|[^a-z]|_)|(?:{_AT_END})$)", re.IGNORECASE
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SECRET_TEXT = re.compile(
    r"""(?x)
    \b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}             # model providers, payment providers
    | \b(?:hf|gh[pousr]|glpat|xox[abprs]|github_pat|npm|pypi)[-_][A-Za-z0-9_-]{16,}
    | \bA(?:KIA|SIA)[A-Z0-9]{16}\b                # AWS
    | \bAIza[A-Za-z0-9_-]{30,}                    # Google
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*   # JSON web tokens
    | (?<=://)[^/\s:@]*:[^/\s@]+(?=@)             # user:password in a URL
    | (?<=hooks\.slack\.com/services/)[A-Za-z0-9/]+
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


@functools.lru_cache(maxsize=4096)  # fields and variables of a run are those of the next one
def is_secret_name(name: str) -> bool:
    """Return whether a field called `name` holds a secret: `api_key` does, `max_tokens` does not.

    Nor does `api_key_env`, which names a variable of the environment.
    """
    if name.endswith("_env") or name in _FOLDERS:
        return False
    return _SECRET_NAME.search(_CAMEL.sub("_", name)) is not None


def secret_values(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the values of environment variables with secret names, longest first."""
    environ = os.environ if environ is None else environ
    found = set()
    for name in filter(is_secret_name, environ):
        value = environ[name]
        # A path, such as SSH_AUTH_SOCK's, says where a secret is, and is not one.
        is_path = value.startswith(os.sep) and os.path.exists(value)
        if len(value.strip()) >= MIN_SECRET and not is_path:
            found.add(value.strip())
    return sorted(found, key=len, reverse=True)


class Redactor:
    """Replaces secrets in JSON-like values by `[redacted]`."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._secrets = secret_values(environ)

    def keys(self, text: str) -> str:
        """Return `text` without values of secret variables and what looks like a key."""
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return _SECRET_TEXT.sub(REDACTED, text)

    def text(self, text: str) -> str:
        """Return `text` without keys, and without what it calls a secret: `password=…`."""
        text = self.keys(text)
        if "=" in text or ":" in text:  # most have neither, and the patterns are slow
            text = _SECRET_PAIR.sub(rf"\1{REDACTED}", text)
        return _SECRET_OPTION.sub(rf"\1{REDACTED}", text) if "-" in text else text

    def value(self, value: Any) -> Any:
        """Return a copy of `value` (dicts, lists and scalars) without secrets.

        In a list, as in a command line, what follows `--api-key` is one too.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            fields = {}
            for name, field in value.items():
                is_secret = is_secret_name(str(name).rsplit(".", 1)[-1])
                is_secret = is_secret and field not in (None, "", False, True)
                fields[self.text(str(name))] = REDACTED if is_secret else self.value(field)
            return fields
        if isinstance(value, (list, tuple)):
            parts = []
            is_next = False
            for part in value:
                is_given = isinstance(part, str) and not part.startswith("-")
                parts.append(REDACTED if is_next and is_given else self.value(part))
                is_next = (
                    isinstance(part, str)
                    and re.fullmatch(r"-[^= ]*", part) is not None
                    and is_secret_name(part.lstrip("-").rsplit(".", 1)[-1])
                )
            return parts
        return value

    def command(self, arguments: Sequence[str]) -> str:
        """Return a command line as one would type it. Values may have spaces and quotes."""
        parts = []
        for argument in self.value(arguments):
            name, equals, _ = argument.partition("=")
            option = name.lstrip("-").rsplit(".", 1)[-1]
            is_secret = equals and " " not in option and is_secret_name(option)
            parts.append(f"{name}={REDACTED}" if is_secret else argument)
        return shlex.join(parts)
