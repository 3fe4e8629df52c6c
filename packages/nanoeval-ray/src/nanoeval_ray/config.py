"""What `runner.executor=ray` may be given."""

from __future__ import annotations

from typing import Any, ClassVar

import chz
from nanoeval_core.errors import ConfigError
from nanoeval_core.executors import ExecutorConfig, ExecutorEngine, ExecutorHost

__all__ = ["RayExecutors"]


@chz.chz
class RayExecutors(ExecutorConfig):
    """Executors as Ray actors: `runner.executor=ray runner.executor.num_gpus=1`.

    `RunnerArgs.num_processes` is how many there are; without it there are as many as the cluster
    has room for, and more when nodes join. Executors that wait for room are what makes Ray's
    autoscaler add nodes.
    """

    name: ClassVar[str] = "ray"

    address: str | None = chz.field(
        default=None,
        doc="The cluster, as ray.init takes it; by default RAY_ADDRESS, or else a cluster of this "
        "machine alone, started for the run.",
    )
    num_cpus: float = chz.field(default=1.0, doc="CPUs that Ray sets aside for each executor.")
    num_gpus: float = chz.field(default=0.0, doc="GPUs that Ray sets aside for each executor.")
    resources: dict[str, float] | None = chz.field(
        default=None, doc="Custom resources of each executor, such as {'tpu': 1}."
    )
    scheduling_strategy: Any = chz.field(
        default="SPREAD",
        doc="Where executors are placed: SPREAD, DEFAULT, or one of Ray's strategy objects.",
    )
    runtime_env: dict[str, Any] | None = chz.field(
        default=None,
        doc="Ray's runtime environment of the executors: working_dir, pip, env_vars, ….",
    )
    actor_options: dict[str, Any] | None = chz.field(
        default=None, doc="More of what Ray's Actor.options takes, such as label_selector."
    )
    init_options: dict[str, Any] | None = chz.field(
        default=None, doc="More of what ray.init takes, such as object_store_memory."
    )

    @chz.validate
    def _check(self) -> None:
        for field, value in (
            ("num_cpus", self.num_cpus),
            ("num_gpus", self.num_gpus),
            *((f"resources[{name!r}]", amount) for name, amount in (self.resources or {}).items()),
        ):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                raise ConfigError(f"RayExecutors.{field}={value!r}: give a number, 0 or more")
        for field, options, own in (
            ("actor_options", self.actor_options, _OWN_ACTOR_OPTIONS),
            ("init_options", self.init_options, _OWN_INIT_OPTIONS),
        ):
            taken = sorted(own & (options or {}).keys())
            if taken:
                raise ConfigError(
                    f"RayExecutors.{field}[{taken[0]!r}]: set RayExecutors.{taken[0]} instead"
                    if hasattr(self, taken[0])
                    else f"RayExecutors.{field}[{taken[0]!r}]: nanoeval sets it itself"
                )

    @property
    def demand(self) -> dict[str, float]:
        """What each executor needs, by Ray's names of resources; what it needs none of is left out.

        Amounts are counts, as Ray counts them.
        """
        needs = {"CPU": self.num_cpus, "GPU": self.num_gpus, **(self.resources or {})}
        return {name: amount for name, amount in needs.items() if amount > 0}

    def engine(self, host: ExecutorHost) -> ExecutorEngine:
        # Deferred: Ray takes seconds to import.
        from nanoeval_ray._engine import RayEngine  # noqa: PLC0415

        return RayEngine(
            host=host,
            address=self.address,
            demand=self.demand,
            actor_options={
                "num_cpus": self.num_cpus,
                "num_gpus": self.num_gpus,
                "resources": self.resources,
                "scheduling_strategy": self.scheduling_strategy,
                "runtime_env": self.runtime_env,
                **(self.actor_options or {}),
            },
            init_options={"runtime_env": self.runtime_env, **(self.init_options or {})},
        )


_OWN_ACTOR_OPTIONS = {
    *("num_cpus", "num_gpus", "resources", "scheduling_strategy", "runtime_env"),
    *("name", "lifetime", "max_restarts", "max_task_retries", "max_concurrency"),
}
_OWN_INIT_OPTIONS = {"address", "runtime_env"}
