"""This process's connection to Ray, shared by its run sets; closed by the last one."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
from typing import Any

import ray
from nanoeval_core.errors import ConfigError

LOCAL = "local"
LOCAL_ATTEMPTS = 3
KNOCK_SECONDS = 10.0


class _Connection:
    """Owns the connection. Its methods block, for seconds where a cluster has to be started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._ours = False

    def open(
        self, address: str | None, options: dict[str, Any], demand: dict[str, float], size: int
    ) -> None:
        """Connect, unless this process is connected already: then that connection is used.

        Args:
            address: as `RayExecutors` has it.
            options: for `ray.init`.
            demand: what each executor needs.
            size: how many executors a cluster that is started here must have room for.

        Raises:
            ConfigError: there is no cluster at the address, or it cannot be used.
        """
        with self._lock:
            if not ray.is_initialized():
                address = address or os.environ.get("RAY_ADDRESS") or LOCAL
                local = _local_options(demand, size) if address == LOCAL else {}
                self._connect(address, {"logging_level": "error", **local, **options})
                self._ours = True
            self._users += 1

    def _connect(self, address: str, options: dict[str, Any]) -> None:
        _knock(address)
        # Ray allows the processes of a new cluster 15 s to start: too few for a busy machine, but
        # what they had to read from disk is in memory the next time.
        for attempts_left in reversed(range(LOCAL_ATTEMPTS if address == LOCAL else 1)):
            try:
                ray.init(address=address, **options)
            except Exception as error:
                with contextlib.suppress(Exception):
                    ray.shutdown()
                if not attempts_left:
                    raise _refusal(address, error) from error
            else:
                return

    def close(self) -> None:
        """Disconnect when nobody needs it any more; a cluster that was started here stops."""
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._ours:
                self._ours = False
                ray.shutdown()


connection = _Connection()


def _knock(address: str) -> None:
    """Raise `ConfigError` when nobody listens at the address: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return  # not a place, but how to find one: `auto`, `local`
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()
    except OSError as error:
        raise _refusal(address, error) from error


def _refusal(address: str, error: Exception) -> ConfigError:
    what = f"{type(error).__name__}: {error}"
    if address == LOCAL:
        return ConfigError(
            f"Ray cannot start a cluster on this machine ({what}). Its logs are in "
            "/tmp/ray/session_latest/logs; RayExecutors.address names a cluster that is up"
        )
    return ConfigError(
        f"RayExecutors.address={address!r}: that Ray cluster cannot be used ({what}). `ray status "
        f"--address {address}` shows whether it is up; without an address (and RAY_ADDRESS) one "
        "is started on this machine"
    )


def _local_options(demand: dict[str, float], size: int) -> dict[str, Any]:
    """Return a cluster of this machine, for this run: reachable from this machine alone."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
        # Asked for more executors than cores, a pool of processes has them too.
        "num_cpus": max(cores or 1, math.ceil(size * demand.get("CPU", 0))),
        "resources": {k: n * max(1, size) for k, n in demand.items() if k not in {"CPU", "GPU"}},
    }


def capacity(demand: dict[str, float]) -> int:
    """Return how many executors that each need `demand` the cluster's nodes can hold together."""
    needs = demand or {"CPU": 1.0}
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(
        int(min(has.get(name, 0.0) // amount for name, amount in needs.items())) for has in alive
    )
