"""The task that the demonstrations work on."""

from __future__ import annotations

from pydantic import Field

from nanoeval_computer._messages import ChatCompletionMessageParam
from nanoeval_computer.code_execution_interface import ComputerInterface, RuntimeConfig
from nanoeval_computer.task import ComputerTask, Grade

__all__ = ["ANSWER", "ANSWER_FILE", "DemoTask"]

ANSWER_FILE = "/root/ANSWER.txt"
ANSWER = 42


def _prompt() -> list[ChatCompletionMessageParam]:
    return [
        {
            "role": "user",
            "content": f"What is 6 times 7? Write the number to the file {ANSWER_FILE}.",
        }
    ]


class DemoTask(ComputerTask):
    """Writes a number to a file of the machine."""

    question_id: str = "test"
    docker_image: str | None = "ubuntu"
    prompt: list[ChatCompletionMessageParam] = Field(default_factory=_prompt, min_length=1)

    async def _setup(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> None:
        pass

    async def grade(self, computer: ComputerInterface, runtime_config: RuntimeConfig) -> Grade:
        shown = await computer.send_shell_command(f"cat {ANSWER_FILE}", idempotent=True)
        text = shown.unicode_output_best_effort.strip()
        return Grade(score=float(text == str(ANSWER)), grader_log=f"the file holds {text!r}")
