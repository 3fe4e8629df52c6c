"""`nanoeval doctor`."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click
from nanoeval_core.errors import NanoevalError, StateError
from nanoeval_recorder.folder import records_folder
from nanoeval_runner.state_files import (
    backup_location,
    backups,
    on_memory_file_system,
    state_dir,
    state_files,
)

from nanoeval_cli._command import json_option, subcommand
from nanoeval_cli._output import short_path, write, write_json, write_table

OURS = (
    "nanoeval",
    *(f"nanoeval-{part}" for part in ("core", "runner", "solvers", "recorder", "computer", "cli")),
)
THEIRS = ("openai", "chz", "pydantic", "aiosqlite", "msgspec", "rich")
OPENAI = "https://api.openai.com/v1"
FEW_FILES = 4096
LITTLE_SPACE = 1 << 30
CALL_SECONDS = 30.0
ADVICE = {
    401: "the key is refused: check OPENAI_API_KEY",
    403: "the key may not do this: check its project and permissions",
    404: "check the URL (it ends in /v1 mostly) and the model's name",
    429: "refused for now: check the limits and the credit of the key",
}


class Finding(NamedTuple):
    """What one check found, and what to do about it."""

    state: Literal["ok", "note", "problem"]
    what: str
    found: str
    do: str = ""


@subcommand("doctor")
@click.option("--model", help="Ask this model for one token.")
@click.option("--base-url", help="The endpoint; by default $OPENAI_BASE_URL, else OpenAI.")
@click.option("--offline", is_flag=True, help="No test call.")
@json_option
def command(model: str | None, base_url: str | None, offline: bool, as_json: bool) -> int:
    """Check what runs depend on: versions, folders, left-over state, limits, the endpoint.

    Exits with 1 when something is wrong.
    """
    found = [*_versions(), *_folders(), *_left_over(), *_limits(), *_containers()]
    if not offline:
        found += _endpoint(base_url, model)
    if as_json:
        write_json([finding._asdict() for finding in found])
    else:
        write_table(("", "what", "found"), [[f.state, f.what, f.found] for f in found])
        advice = [f for f in found if f.do]
        write("\nTo do:" if advice else "\nAll is well.")
        for finding in advice:
            write(f"  {finding.what}: {finding.do}")
    return int(any(finding.state == "problem" for finding in found))


def _versions() -> Iterator[Finding]:
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.platform(terse=True)}")
    ours = {name: _version(name) for name in OURS}
    installed = set(ours.values())
    if len(installed) == 1 and None not in installed:
        yield Finding("ok", "nanoeval", f"{installed.pop()}, all {len(ours)} packages")
    else:
        text = ", ".join(f"{name} {number or 'missing'}" for name, number in ours.items())
        yield Finding(
            "problem", "nanoeval", text, "the packages belong together: pip install -U nanoeval"
        )
    for name in THEIRS:
        number = _version(name)
        needed = "" if number else f"pip install {name}: it is needed to ask models over an API"
        yield Finding("ok" if number else "note", name, number or "not installed", needed)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _folders() -> Iterator[Finding]:
    for what, variable, find in (
        ("state folder", "NANOEVAL_STATE_DIR", state_dir),
        ("records", "NANOEVAL_LOG_DIR", records_folder),
        ("backups", "NANOEVAL_BACKUP_DIR", backup_location),
    ):
        try:
            location = find()
        except NanoevalError as error:
            yield Finding("problem", what, str(error), f"set {variable} to a folder of yours")
            continue
        if "://" in str(location):
            yield Finding("ok", what, str(location))
            continue
        folder = there = Path(location).expanduser()
        while not there.exists():
            there = there.parent
        if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
            do = f"make it writable, or set {variable} to a folder that is"
            yield Finding("problem", what, f"{folder}: cannot be written", do)
            continue
        free = shutil.disk_usage(there).free
        text = f"{short_path(folder)}, {free / 1e9:.1f} GB free"
        if what == "state folder" and on_memory_file_system(folder):
            text += ", in memory: after a reboot only backups are left"
        do = f"make room, or set {variable} to another file system" if free < LITTLE_SPACE else ""
        yield Finding("note" if do else "ok", what, text, do)


def _left_over() -> Iterator[Finding]:
    try:
        kept = len(backups())
    except NanoevalError:  # told with the folders
        return
    files = list(state_files())
    readable = [file for file in files if not isinstance(file, StateError)]
    ended = [file for file in readable if not file.is_running]
    finished = sum(file.is_complete for file in ended)
    unfinished, size = len(ended) - finished, sum(file.size for file in ended)
    text = f"{len(readable) - len(ended)} running, {finished} finished, {unfinished} unfinished"
    do = ["nanoeval clean removes the finished"] * bool(finished)
    do += ["nanoeval resume lists the unfinished"] * bool(unfinished)
    text += f" ({size / 1e6:.1f} MB)"
    yield Finding("note" if do else "ok", "run sets", text, "; ".join(do))
    for error in files:
        if isinstance(error, StateError):
            yield Finding("problem", "state file", str(error), "move it away, or resume its backup")
    yield Finding("ok", "backups kept", str(kept))


def _limits() -> Iterator[Finding]:
    import resource  # noqa: PLC0415  not on every platform

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    text, do = f"{soft} (up to {'any number' if hard == unlimited else hard})", ""
    if hard != unlimited and hard < FEW_FILES:
        do = f"raise it above {FEW_FILES} (ulimit -Hn, or limits.conf), or keep concurrency below"
    yield Finding("note" if do else "ok", "open files", text, do)
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    yield Finding("ok", "processors", f"{usable} usable")


def _containers() -> Iterator[Finding]:
    from nanoeval_computer.maintenance import describe_engine  # noqa: PLC0415  for this check

    engine = describe_engine()
    if engine.name:
        yield Finding("ok", "containers", f"{engine.name} at {engine.url}")
        for problem in engine.problems:
            yield Finding("note", "containers", problem)
    elif engine.url:  # it is named, or its socket is there
        yield Finding("note", "containers", engine.problems[0], "start it, or unset DOCKER_HOST")
    else:
        yield Finding("ok", "containers", "no engine is there: only computer tasks need one")


def _endpoint(base_url: str | None, model: str | None) -> Iterator[Finding]:
    url = (base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI).rstrip("/")
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if url == OPENAI and not key:
        do = "set OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint of your own, to check it"
        yield Finding("note", "endpoint", "not asked: OPENAI_API_KEY is not set", do)
        return
    yield _call(url, "/models", key, None)
    if model is not None:
        message = {"role": "user", "content": "Say yes."}
        body = {"model": model, "messages": [message], "max_completion_tokens": 16}
        yield _call(url, "/chat/completions", key, body)


def _call(url: str, path: str, key: str, body: dict[str, Any] | None) -> Finding:
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    data = None if body is None else json.dumps(body).encode()
    started = time.monotonic()
    try:
        request = urllib.request.Request(url + path, data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as response:
            text = response.read()
    except urllib.error.HTTPError as error:
        words = error.read(500).decode(errors="replace").strip().replace(key or "\0", "…")
        do = ADVICE.get(error.code, "see what the endpoint says")
        return Finding("problem", "endpoint", f"{url}{path}: {error.code} {words}", do)
    except (OSError, ValueError) as error:
        do = "is it running, and is the URL right? It ends in /v1 mostly"
        return Finding("problem", "endpoint", f"{url}{path} does not answer: {error}", do)
    took = f"{1000 * (time.monotonic() - started):.0f} ms"
    if body is not None:
        return Finding("ok", "endpoint", f"{body['model']} answers in {took}")
    return Finding("ok", "endpoint", f"{url} answers in {took}{_models(text)}")


def _models(text: bytes) -> str:
    try:
        names = [str(one["id"]) for one in json.loads(text)["data"]]
    except (ValueError, KeyError, TypeError):
        return ""
    shown = ", ".join(names[:3])
    return f"; {len(names)} models: {shown}{', …' if len(names) > 3 else ''}"
