"""Tasks that are solved in a machine, and the grades they give."""

from __future__ import annotations

from abc import ABC, abstractmethod

from nanoeval_core import Task
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nanoeval_computer._messages import ChatCompletionMessageParam
from nanoeval_computer.code_execution_interface import (
    ComputerConfiguration,
    ComputerInterface,
    JupyterComputerInterface,
    RuntimeConfig,
    valid_ipython_code,
)
from nanoeval_computer.serialization import SerializableBaseModel

__all__ = ["ComputerTask", "Grade", "SimpleJupyterTask"]


class Grade(BaseModel):
    """A score, and what the grader had to say.

    Attributes:
        score: 1 is solved; a task whose grades are partial says so with `is_continuous`.
    """

    score: float
    grader_log: str
    is_continuous: bool = False


class ComputerTask(ABC, ComputerConfiguration, Task, SerializableBaseModel):
    """A task that is solved in a machine: its prompt, its set-up and its grader.

    Attributes:
        prompt: the messages that the model is given; the system message is the solver's.
        grade_every_step: whether a solver that grades while it works may do so.
        retry_message: what a solver that allows another try tells the model.
        hints: what a solver may tell a model that is stuck, one after the other.
    """

    model_config = ConfigDict(extra="forbid")

    prompt: list[ChatCompletionMessageParam] = Field(min_length=1)
    grade_every_step: bool = True
    retry_message: str = "That is not correct yet. Look at it again and try another way."
    hints: list[str] = Field(default=[])

    @abstractmethod
    async def grade(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> Grade:
        """Grade what the machine holds. The solver calls it, while the machine is alive."""

    @abstractmethod
    async def _setup(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> None:
        """Put into the machine what this task needs; it is already in its working folder."""

    async def setup(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> None:
        """Prepare the machine: what every machine needs, then `_setup`."""
        await ComputerConfiguration.setup(self, computer, runtime_config)
        await self._setup(computer, runtime_config)

    async def check_for_valid_submission(
        self, computer: ComputerInterface, runtime_config: RuntimeConfig
    ) -> bool:
        """Return whether the machine holds something to grade. Optional: see `supports_pokes`."""
        raise NotImplementedError(
            f"{type(self).__name__} does not override check_for_valid_submission"
        )

    @property
    def supports_pokes(self) -> bool:
        """Whether `check_for_valid_submission` is overridden."""
        return type(self).check_for_valid_submission is not ComputerTask.check_for_valid_submission


class SimpleJupyterTask(ComputerTask):
    """A task that is set up by one cell and graded by the last expression of another."""

    setup_cell: str
    grader_cell: str

    @field_validator("setup_cell", "grader_cell")
    @classmethod
    def _check_cell(cls, value: str) -> str:
        if not valid_ipython_code(value):
            raise ValueError(f"no valid IPython code: {value!r}")
        return value

    async def _setup(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> None:
        await _jupyter(computer).check_execute(self.setup_cell)

    async def grade(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> Grade:
        result = await _jupyter(computer).check_execute(self.grader_cell)
        value = result.parsed_final_expression_output
        if value is None:
            raise AssertionError("the last expression of grader_cell gives nothing to score")
        if not isinstance(value, bool | float):
            raise ValueError(  # noqa: TRY004  as any value that cannot be scored
                f"grader_cell must end with a bool or a float, not {value!r}"
            )
        return Grade(score=float(value), grader_log=result.output)


def _jupyter(computer: ComputerInterface) -> JupyterComputerInterface:
    if not isinstance(computer, JupyterComputerInterface):
        raise AssertionError(  # noqa: TRY004  the machine is not as the task needs it
            f"this task needs a machine with a Jupyter kernel, not a {type(computer).__name__}"
        )
    return computer
