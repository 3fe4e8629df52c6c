"""What an engine reads of its config: `config.RayExecutors`, which starts it."""

from __future__ import annotations

from typing import Any, Protocol


class RayOptions(Protocol):
    """The fields of `RayExecutors`, which describes them."""

    @property
    def address(self) -> str | None: ...

    @property
    def num_cpus(self) -> float: ...

    @property
    def num_gpus(self) -> float: ...

    @property
    def resources(self) -> dict[str, float] | None: ...

    @property
    def scheduling_strategy(self) -> Any: ...

    @property
    def runtime_env(self) -> dict[str, Any] | None: ...

    @property
    def actor_options(self) -> dict[str, Any] | None: ...

    @property
    def init_options(self) -> dict[str, Any] | None: ...

    @property
    def demand(self) -> dict[str, float]: ...
