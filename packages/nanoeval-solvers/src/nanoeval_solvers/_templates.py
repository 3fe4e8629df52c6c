"""From a question to the messages of a chat."""

from __future__ import annotations

import base64
import mimetypes
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nanoeval_core.errors import ConfigError

Message = dict[str, Any]
"""One message of a chat, as the chat completions API has it."""

ONE_CHOICE = (
    "Think as much as you need, then end with one line of the form `Answer: X`, where X is the "
    "letter of the correct choice."
)
SEVERAL_CHOICES = (
    "Any number of choices may be correct. Think as much as you need, then end with one line of "
    "the form `Answer: X, Y, …`, with the letters of all correct choices, or `Answer: none`."
)


def check_template(template: str, fields: Iterable[str], *, name: str) -> None:
    """Raise `ConfigError` unless `template` can be filled in with `fields`."""
    fields = sorted(fields)
    try:
        used = {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}
    except ValueError as error:
        raise ConfigError(
            f"{name}: {error}: write a literal brace twice, as {{{{ or }}}}"
        ) from None
    unknown = sorted(used.difference(fields))
    if unknown:
        raise ConfigError(
            f"{name} uses {{{unknown[0]}}}, which is not one of "
            f"{', '.join(f'{{{field}}}' for field in fields)}: write a literal brace twice"
        )


def lettered(choices: Sequence[str], letters: Sequence[str]) -> str:
    """Return the choices as a prompt shows them, one a line."""
    return "\n".join(f"{letter}) {choice}" for letter, choice in zip(letters, choices, strict=True))


def chat(*, system: str | None, user: str, images: Sequence[str] = ()) -> list[Message]:
    """Return the messages of a chat that asks `user`, showing `images`."""
    messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    shown = [{"type": "image_url", "image_url": {"url": image_url(image)}} for image in images]
    content: Any = [*shown, {"type": "text", "text": user}] if shown else user
    return [*messages, {"role": "user", "content": content}]


def image_url(image: str) -> str:
    """Return `image` as a URL that an endpoint can read: files become `data:` URLs.

    Raises:
        ConfigError: it names no file, or one that is no image.
    """
    if image.startswith(("https://", "http://", "data:")):
        return image
    kind = mimetypes.guess_type(image)[0]
    if kind is None or not kind.startswith("image/"):
        raise ConfigError(
            f"Question.images: {image[:80]!r} is no image: give an https: or data: URL, or the "
            "path of a file whose suffix says what kind of image it is"
        )
    try:
        content = Path(image).read_bytes()
    except OSError as error:
        raise ConfigError(f"Question.images: cannot read {image!r}: {error.strerror}") from error
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def base64_url(content: str) -> str:
    """Return an image in base64 as a `data:` URL; its first bytes say what kind it is."""
    if content.startswith("data:"):
        return content
    kinds = {"/9j/": "jpeg", "R0lG": "gif", "UklG": "webp", "Qk": "bmp"}
    kind = next((kind for start, kind in kinds.items() if content.startswith(start)), "png")
    return f"data:image/{kind};base64,{content}"
