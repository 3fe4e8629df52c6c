"""A shell that stays open in a machine and runs one command after the other.

A process started for each command is slow in containers, and with Podman each leaves two helpers
behind for five minutes. So one `bash` reads commands from its stdin, runs each in a `bash -c` of
its own, ends what the command left running, and prints a line that ends with its exit code.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import NamedTuple, Protocol

from nanoeval_computer._reaper.process import DYING_SECONDS

COOKIE = "NANOEVAL_COMMAND"
"""The variable in the environment of every process of a command, by which they are found."""


def _kill(found: str, parent: str) -> str:
    """Return the function that ends what a command left.

    Args:
        found: sets `pids`, the folders in /proc of the processes to look at.
        parent: who adopts processes that lose their parent.
    """
    return f"""
# End every process whose environment holds the cookie, and those that have no cookie and no parent
# any more and were started since ("env -i setsid …"): in clock ticks, as /proc has it.
nanoeval_kill() {{
  local round pid pids entry killed stat fields since=${{2:-}} end=$((SECONDS + {DYING_SECONDS:g}))
  for ((round = 0; SECONDS < end; round++)); do
    killed=
    {found}
    for pid in "${{pids[@]}}"; do
      while IFS= read -r -d '' entry; do
        if [[ $entry == "{COOKIE}=$1" ]]; then killed=1; kill -9 "${{pid#/proc/}}"; fi
        [[ $entry == "{COOKIE}="* ]] && continue 2
      done 2>/dev/null < "$pid/environ"
      [[ $since ]] && IFS= read -r stat 2>/dev/null < "$pid/stat" || continue
      fields=(${{stat##*) }})  # state, parent, …; the 20th is when it began
      [[ ${{fields[0]}} != Z && ${{fields[1]}} == {parent} && $pid != /proc/$$ ]] || continue
      (( fields[19] >= since )) && killed=1 && kill -9 "${{pid#/proc/}}"
    done
    [[ $killed ]] || return 0
    # At first at full speed, for what forks; then what was killed needs a processor to die.
    (( round < 50 )) || read -t 0.01 <> <(:)
  done
  return 1
}}
"""


# Only what bash itself can do, for an image may have nothing else. A single argument of a program
# is limited to 128 kB, so a longer command is handed over as a file.
_SERVE = f"""
set -m; exec 2>/dev/null  # job control, for process groups, and not its messages
LC_ALL=C  # of this shell: lengths are bytes
while IFS= read -r -N 10 length && IFS= read -r -N "$length" line; do
  marker=${{line:0:32}} cookie=${{line:32:32}} keep=${{line:64:1}} command=${{line:65}}
  printf '+%s\\n' "$marker"  # what was not acknowledged has not been run, and may be sent again
  since=  # a shell whose parent is another one of the same processes adopts nobody
  [[ $adopts ]] && read -r since _ < /proc/uptime; since=${{since/./}}
  cd "$cwd" 2>/dev/null || cd /
  if [[ $keep == + ]]; then
    # What stays in the background may hold its output open: it cannot be this shell's.
    {COOKIE}=$cookie bash -c "$command" </dev/null >"/tmp/.nanoeval-$cookie" 2>&1 &
    wait $!; code=$?; left=0
    cat "/tmp/.nanoeval-$cookie"; rm -f "/tmp/.nanoeval-$cookie"
  else
    if (( ${{#command}} > 100000 )); then
      {COOKIE}=$cookie bash <(printf '%s' "$command") </dev/null 2>&1 &
    else
      {COOKIE}=$cookie bash -c "$command" </dev/null 2>&1 &
    fi
    wait $!; code=$?
    kill -9 -- "-$!" 2>/dev/null
    nanoeval_kill "$cookie" "$since"; left=$?
  fi
  printf '%s %d %d\\n' "$marker" "$code" "$left"
done
"""

KILL = _kill("pids=(/proc/[0-9]*)", "1")
SERVE = KILL + "adopts=; (( PPID < 2 )) && adopts=1" + _SERVE
"""The shell of a machine that has processes of its own: its parent is outside, or the first."""

SERVE_ON_HOST = (
    _kill('read -r -a pids < /proc/$$/task/$$/children; pids=("${pids[@]/#//proc/}")', "$$")
    + "[[ -e /proc/$$/task/$$/children ]] || nanoeval_kill() { return 1; }\n"
    + "adopts=1"
    + _SERVE
)
"""The shell of a machine among the host's processes: it adopts what loses its parent."""

TRAILER_BYTES = 32 + len(" 255 1\n")

Sink = Callable[[bytes], object]
"""What takes a command's output as it comes."""


class Process(Protocol):
    """A process in a machine, its output and errors read as one."""

    async def write(self, data: bytes) -> None:
        """Write to its stdin; waits while the process does not read."""
        ...

    async def read(self) -> bytes:
        """Return some of its output, or `b""` at the end."""
        ...

    async def wait(self) -> int | None:
        """Return its exit code once its output has ended; None where it is not known."""
        ...

    async def close(self) -> None:
        """Give up on it."""
        ...


class Output:
    """The output of a command, of which at most `limit` bytes are kept: its head and tail."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._head = bytearray()
        self._tail = bytearray()
        self.truncated = 0

    def add(self, data: bytes) -> None:
        room = self._limit // 2 - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        excess = len(self._tail) - self._limit // 2
        if excess > self._limit // 4:  # not at each chunk: moving the tail costs
            self._cut(excess)

    def _cut(self, excess: int) -> None:
        del self._tail[:excess]
        self.truncated += excess

    def value(self) -> bytes:
        self._cut(max(0, len(self._tail) - self._limit // 2))
        if not self.truncated:
            return bytes(self._head + self._tail)
        note = b"\n[... %d bytes left out ...]\n" % self.truncated
        return bytes(self._head + note + self._tail)


class ProcessEnd(NamedTuple):
    """How a command ended.

    Attributes:
        exit_code: None when the shell ended before it could tell.
        started: False when the shell ended before it had read the command.
        left: processes of the command could not be ended.
        timed_out: it was ended, as its time was over.
        said: what came in place of output before the command was read, such as an engine's error.
    """

    exit_code: int | None
    started: bool = True
    left: bool = False
    timed_out: bool = False
    said: bytes = b""


class Shell:
    """One open shell; it runs one command at a time."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._marker = b""
        self._held = b""
        self._started = False

    async def send(self, command: str, *, cookie: str, keep: bool) -> None:
        """Send a command; `receive` gives its output and its end."""
        self._marker, self._held, self._started = secrets.token_hex(16).encode(), b"", False
        flag = b"+" if keep else b"-"
        line = self._marker + cookie.encode() + flag + command.encode(errors="replace")
        await self._process.write(b"%010d" % len(line) + line)

    async def receive(self, sink: Sink) -> ProcessEnd:
        """Read output until the command has ended. Canceled, it can be called again."""
        acknowledged = b"+" + self._marker + b"\n"
        while data := await self._process.read():
            self._held += data
            if not self._started:
                if len(self._held) < len(acknowledged):
                    continue
                if not self._held.startswith(acknowledged):
                    break  # what starts processes talks, not the shell
                self._started, self._held = True, self._held[len(acknowledged) :]
            held = self._held
            at = held.rfind(self._marker, max(0, len(held) - TRAILER_BYTES))
            if at >= 0 and held.endswith(b"\n"):
                sink(held[:at])
                exit_code, left = held[at:].split()[1:]
                return ProcessEnd(int(exit_code), left=left != b"0")
            if len(held) > TRAILER_BYTES:
                sink(held[:-TRAILER_BYTES])
                self._held = held[-TRAILER_BYTES:]
        if not self._started:
            return ProcessEnd(None, started=False, said=self._held)
        sink(self._held)
        return ProcessEnd(None)

    async def close(self) -> None:
        await self._process.close()
