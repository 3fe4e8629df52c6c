"""`Machine`: what our runtimes' computers have in common, whatever starts them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import logging
import os
import secrets
import shlex
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from nanoeval_core import RolloutSystemError

from nanoeval_computer._inside.shell import SERVE, Output, Process, ProcessEnd, Shell, Sink
from nanoeval_computer._reaper.process import DYING_SECONDS
from nanoeval_computer.code_execution_interface import (
    ComputerInterface,
    ComputerRuntime,
    ExecutionResult,
)
from nanoeval_computer.secret import Secret

__all__ = ["KILLED", "MAX_BYTES", "TIMED_OUT", "CommandResult", "Machine", "MachineLost"]

log = logging.getLogger("nanoeval.computer")

MAX_BYTES = 256 * 1024 * 1024
"""The most that `upload` and `download` take; `upload_path` and `download_path` take any size."""

TIMED_OUT = 124
"""The exit code of a command that outlived its time, as `timeout` of coreutils has it."""

KILLED = 137

_OPENINGS = 3
_GRACE_SECONDS = DYING_SECONDS + 20.0
_SMALL = 48 * 1024
_CHUNK = 1024 * 1024
_TRANSFER_SECONDS = 3600.0

_ERRORS: Mapping[int, tuple[type[OSError], str]] = {
    61: (FileNotFoundError, "does not exist"),
    62: (OSError, "is a symbolic link: name the file it points to"),
    63: (IsADirectoryError, "is a folder: only files can be sent"),
    64: (OSError, "is no regular file"),
}
_REGULAR = (
    "if [ -L {path} ]; then exit 62; elif [ -d {path} ]; then exit 63; "
    "elif [ -e {path} ] && [ ! -f {path} ]; then exit 64; fi; "
)

# Tells whether anything outside answers, with what bash has itself: an image may lack all tools.
_REACH = """
for target in 1.1.1.1/53 8.8.8.8/53; do
  ( exec 3<>/dev/tcp/$target && echo "connect $target" ) 2>/dev/null &
done
( message=$( { exec 3<>/dev/tcp/example.com/80; } 2>&1 )
  if [[ $? == 0 || $message == *"onnection refused"* || $message == *"nreachable"* ]]; then
    echo "name example.com"
  fi ) &
while IFS=: read -r name counters; do echo "interface ${name// /}"; done < /proc/net/dev
wait
"""
_REACH_SECONDS = 4.0


class MachineLost(Exception):
    """The machine answers no more after what the agent did in it: graded, not retried."""


class CommandResult(ExecutionResult):
    """What a command printed, and how it ended.

    Attributes:
        timed_out: it was ended after its time was over; `output` is what there was until then.
        truncated_bytes: left out of the middle of `output`.
        elapsed: seconds.
    """

    timed_out: bool = False
    truncated_bytes: int = 0
    elapsed: float = 0.0


class Machine(ComputerInterface):
    """A computer that is spoken to through `bash`. Runtimes say how a process is started in it.

    Args:
        name: what messages call it.
        cwd: where commands start.
        environment: of every command.
        masked: values that are replaced in outputs, by what they are replaced with.
        command_timeout: seconds that a command may take, unless it says so itself.
        max_output: bytes of a command's output that are kept.
    """

    def __init__(
        self,
        name: str,
        *,
        cwd: str,
        environment: Mapping[str, str],
        masked: Mapping[str, str],
        command_timeout: float,
        max_output: int,
    ) -> None:
        self.name = name
        self.runtime: ComputerRuntime | None = None  # what started it, and can start another
        self._cwd = cwd
        self._environment = {"LANG": "C.UTF-8", "TZ": "UTC", **environment}
        self._masked = {value.encode(): f"[{shown}]".encode() for value, shown in masked.items()}
        self._command_timeout = command_timeout
        self._max_output = max_output
        self._serve = SERVE
        self._idle: list[Shell] = []
        self._ending: set[asyncio.Future[None]] = set()
        self._touched = False
        self._may_have_left = False

    @abstractmethod
    async def _spawn(self, argv: Sequence[str]) -> Process:
        """Start a process in the machine, its stdin open, its two outputs read as one.

        Raises:
            OSError: it did not start, and another try may go well; a ConnectionError where what
                runs the machine gave no answer.
        """

    @abstractmethod
    async def _kill(self, cookie: str) -> bool:
        """End the processes of a command, and return whether none is left."""

    @abstractmethod
    async def _why_over(self) -> str | None:
        """Return why the machine does not run any more, or None while it runs.

        Raises:
            RolloutSystemError: what runs it cannot say.
        """

    async def send_shell_command(
        self,
        cmd: str,
        *,
        idempotent: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109  how people write it
        background: bool = False,
    ) -> CommandResult:
        """Run `cmd` in a bash of its own. All of its processes end with it.

        Args:
            idempotent: it may be sent again where it is not known whether it ran.
            timeout: seconds after which it is ended, in place of the runtime's.
            background: leave what it has put into the background running.

        Raises:
            MachineLost: the machine answers no more, after a command that was not idempotent.
            RolloutSystemError: it answers no more, and no such command came before.
        """
        if "\0" in cmd:
            raise ValueError("a command cannot hold a null byte: write it to a file with upload")
        if not idempotent:
            self.note_use()
        started = time.monotonic()
        for is_last in (not idempotent, True):
            output = Output(self._max_output)
            ended = await self._run(cmd, output.add, timeout=timeout, keep=background)
            exit_code = TIMED_OUT if ended.timed_out else ended.exit_code
            if exit_code is not None or is_last:
                break
        value = self.outward(output.value())
        if exit_code is None:
            value += b"\n[the shell of this command was killed]\n"
        return CommandResult(
            output=value,
            exit_code=KILLED if exit_code is None else exit_code,
            timed_out=ended.timed_out,
            truncated_bytes=output.truncated,
            elapsed=time.monotonic() - started,
        )

    async def _run(
        self,
        cmd: str,
        sink: Sink,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        keep: bool = False,
    ) -> ProcessEnd:
        """Run `cmd` in an idle shell, else in a new one."""
        said, unreachable = "", None
        for _ in range(_OPENINGS):
            try:
                shell = self._idle.pop() if self._idle else await self._open_shell()
            except ConnectionError as error:
                unreachable = error
                continue
            except OSError as error:
                said = str(error)
                continue
            cookie = secrets.token_hex(16)
            ended = ProcessEnd(None, started=False)
            try:
                with contextlib.suppress(OSError, RuntimeError):  # a shell that is gone: not read
                    await shell.send(self.inward(cmd), cookie=cookie, keep=keep)
                    try:
                        async with asyncio.timeout(timeout or self._command_timeout):
                            ended = await shell.receive(sink)
                    except TimeoutError:
                        ended = ProcessEnd(None, timed_out=True)
                        ended = (await self._end_late(shell, cookie, sink))._replace(timed_out=True)
                if ended.left and not await self._kill(cookie):
                    raise self._lost("processes of a command could not be ended")
            except BaseException as error:
                self._may_have_left = True
                is_canceled = isinstance(error, asyncio.CancelledError)
                ending = asyncio.ensure_future(
                    self._give_up(shell, cookie if is_canceled else None)
                )
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)
                await asyncio.shield(ending)
                raise
            self._may_have_left |= keep or ended.timed_out or ended.exit_code is None
            if ended.exit_code is None:
                await shell.close()
            else:
                self._idle.append(shell)
            if ended.exit_code is None and (why := await self._why_over()):
                raise self._lost(why)
            if ended.started or ended.timed_out:
                return ended
            said = ended.said.decode(errors="replace")
        if unreachable is not None:
            raise self._unreachable(unreachable)
        raise self._lost(f"no shell can be started in it: {said.strip() or 'it says nothing'}")

    def inward(self, text: str) -> str:
        """Return `text` as it is meant in the machine."""
        return text

    def outward(self, output: bytes) -> bytes:
        """Return `output` as it may be shown: without the values of secrets."""
        for secret, shown in self._masked.items():
            output = output.replace(secret, shown)
        return output

    async def _open_shell(self) -> Shell:
        # The script comes first on stdin, so that it does not fill the machine's list of processes.
        read_script = "IFS= read -r -d '' script; eval \"$script\""
        process = await self._spawn(["bash", "--norc", "--noprofile", "-c", read_script])
        with contextlib.suppress(OSError):  # what is gone already says why where it is read
            await process.write(f"cwd={shlex.quote(self._cwd)}\n{self._serve}\0".encode())
        return Shell(process)

    async def _end_late(self, shell: Shell, cookie: str, sink: Sink) -> ProcessEnd:
        """End a command whose time is over."""
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                if await self._kill(cookie):
                    return await shell.receive(sink)
        except TimeoutError:
            pass
        raise self._lost("a command whose time was over could not be ended")

    async def _give_up(self, shell: Shell, cookie: str | None) -> None:
        """Close a shell; first end the command that nobody waits for any more.

        What takes too long is left to the end of the machine.
        """
        if cookie is not None:
            try:
                async with asyncio.timeout(_GRACE_SECONDS):
                    await self._kill(cookie)
            except (TimeoutError, OSError, RolloutSystemError, MachineLost) as error:
                log.warning("%s: a command left behind may still run: %r", self.name, error)
        await shell.close()

    def _lost(self, why: str) -> Exception:
        """Return the error for a machine that answers no more: the agent's doing, or not."""
        if self._touched:
            return MachineLost(f"machine {self.name} is lost: {why}")
        return RolloutSystemError(f"machine {self.name} failed before it was used: {why}")

    def _unreachable(self, error: ConnectionError) -> RolloutSystemError:
        return RolloutSystemError(
            f"the container engine failed at starting a process in {self.name}: {error}"
        )

    async def upload(self, file: bytes, destination: str) -> None:
        """Write `file` to `destination`; folders on the way are made.

        Raises:
            OSError: `destination` is a link, a folder or a device, or cannot be written.
        """
        if len(file) > MAX_BYTES:
            raise ValueError(
                f"{len(file)} bytes are more than the {MAX_BYTES} that upload takes: use "
                "upload_path"
            )
        if len(file) <= _SMALL:
            text = base64.b64encode(file).decode()
            write = f"printf %s {text} | base64 -d > {{path}}"
            output = Output(_SMALL)
            ended = await self._run(_writing(destination, write), output.add)
            _check_transfer(destination, ended.exit_code, output.value())
            return
        await self._send(len(file), destination, io.BytesIO(file))

    async def upload_path(self, source: str | os.PathLike[str], destination: str) -> None:
        """Write the file `source` of this host to `destination`, in constant memory."""
        with await asyncio.to_thread(_open_regular, source) as file:
            await self._send(os.fstat(file.fileno()).st_size, destination, file)

    async def _send(self, size: int, destination: str, file: BinaryIO) -> None:
        write = f"head -c {size} > {{path}} && [ $(wc -c < {{path}}) -eq {size} ]"
        command = self.inward(_writing(destination, write))
        process = await self.open_process(["bash", "-c", command])
        try:
            sent = 0
            with contextlib.suppress(ConnectionError, RuntimeError):  # its exit code says why
                while sent < size:
                    chunk = await asyncio.to_thread(file.read, _CHUNK)
                    if not chunk:
                        raise ValueError(f"a file for {destination} shrank while it was sent")
                    await process.write(chunk)
                    sent += len(chunk)
            output = Output(_SMALL)
            while data := await process.read():
                output.add(data)
            _check_transfer(destination, await process.wait(), output.value())
        finally:
            await process.close()

    async def download(self, file: str) -> bytes:
        """Return the content of `file`.

        Raises:
            OSError: it does not exist, is a link, a folder or a device, or cannot be read.
            ValueError: it is larger than `MAX_BYTES`: use `download_path`.
        """
        output = Output(MAX_BYTES)
        await self._receive(file, output.add)
        content = output.value()
        if output.truncated:
            raise ValueError(
                f"{file} holds {MAX_BYTES + output.truncated} bytes, more than the {MAX_BYTES} "
                "that download takes: use download_path"
            )
        return content

    async def download_path(self, source: str, destination: str | os.PathLike[str]) -> None:
        """Write the machine's file `source` to `destination` on this host, in constant memory."""
        part = f"{os.fspath(destination)}.part"
        with await asyncio.to_thread(open, part, "wb") as file:
            try:
                await self._receive(source, file.write)
            except BaseException:
                os.unlink(part)
                raise
        os.replace(part, destination)

    async def _receive(self, file: str, sink: Sink) -> None:
        path = shlex.quote(file)
        command = (
            f"[ -e {path} ] || [ -L {path} ] || exit 61; {_REGULAR.format(path=path)} cat {path}"
        )
        ended = await self._run(command, sink, timeout=_TRANSFER_SECONDS)
        _check_transfer(file, ended.exit_code, b"")

    async def check_offline(self) -> None:
        """Verify from inside that nothing of the internet answers.

        Raises:
            RolloutSystemError: something does.
        """
        output = Output(_SMALL)
        await self._run(_REACH, output.add, timeout=_REACH_SECONDS)
        lines = output.value().decode(errors="replace").splitlines()
        answers = [line for line in lines if line.startswith(("connect ", "name "))]
        if answers:
            raise RolloutSystemError(
                f"machine {self.name} should have no internet, but reached: {', '.join(answers)}"
            )

    async def open_process(self, argv: Sequence[str]) -> Process:
        """Start a process in the machine, to be spoken to; the caller closes it."""
        self._may_have_left = True
        try:
            return await self._spawn(argv)
        except ConnectionError as error:
            raise self._unreachable(error) from error

    def note_use(self) -> None:
        """Take note that the agent acts: what happens to the machine may be its doing now."""
        self._touched = True

    async def check_running(self) -> None:
        """Raise the error for a machine that is over, if it is."""
        if why := await self._why_over():
            raise self._lost(why)

    async def close(self) -> None:
        """Close what is open to the machine."""
        await asyncio.gather(*self._ending, return_exceptions=True)
        while self._idle:
            await self._idle.pop().close()

    @property
    @abstractmethod
    def attach_command(self) -> str:
        """The command that opens a shell in the machine."""


def _open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    file = open(  # noqa: SIM115  the caller closes it
        path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NOFOLLOW)
    )
    if not os.path.isfile(path):
        file.close()
        raise OSError(f"{os.fspath(path)} is no regular file")
    return file


def _writing(destination: str, write: str) -> str:
    path = shlex.quote(destination)
    folder = shlex.quote(os.path.dirname(destination) or ".")
    return (
        f"[ -d {folder} ] || mkdir -p {folder} || exit 1; {_REGULAR.format(path=path)} "
        f"{write.format(path=path)}"
    )


def _check_transfer(path: str, exit_code: int | None, said: bytes) -> None:
    if exit_code == 0:
        return
    kind, problem = _ERRORS.get(exit_code or 1, (OSError, "cannot be read or written"))
    more = said.decode(errors="replace").strip()
    raise kind(f"{path} in the machine {problem}{': ' + more if more else ''}")


def resolve_environment(
    environment: Mapping[str, Any],
) -> tuple[dict[str, str], dict[str, str]]:
    """Return a task's environment with its secrets read, and the values that are to be masked."""
    values: dict[str, str] = {}
    masked: dict[str, str] = {}
    for name, given in environment.items():
        if isinstance(given, Secret):
            values[name] = given.value()
            masked[values[name]] = given.secret
        elif given is not None:
            values[name] = str(given)
    masked.pop("", None)
    return values, masked
