"""Multiple choice over an OpenAI-compatible API: ask, then read the reply."""

from __future__ import annotations

import chz
from nanoeval_core.errors import ConfigError

from nanoeval_solvers._parsing import parse_choices
from nanoeval_solvers._templates import (
    MCQ_FIELDS,
    ONE_CHOICE,
    SEVERAL_CHOICES,
    Message,
    chat,
    check_template,
    lettered,
)
from nanoeval_solvers.api_model import APIModel, record_reply
from nanoeval_solvers.mcq import Answer, MCQSolver, MCQTask, Question

USER_PROMPT = "{question}\n\n{choices}\n\n{instruction}"


@chz.chz
class OpenAIAPIMCQSolver(APIModel, MCQSolver):
    """Asks the question in a chat and reads the answer from the reply.

    The prompts are templates with `{question}`, `{choices}` (lettered lines), `{letters}` and
    `{instruction}` (how to give one answer or several).
    """

    system_prompt: str | None = chz.field(default=None, doc="A template; None sends none.")
    user_prompt: str = chz.field(default=USER_PROMPT, doc="A template.")

    @chz.validate
    def _check_prompts(self) -> None:
        for name in ("system_prompt", "user_prompt"):
            template = getattr(self, name)
            if template is not None:
                check_template(template, MCQ_FIELDS, name=f"{type(self).__name__}.{name}")
        if "{question}" not in self.user_prompt:
            raise ConfigError(f"{type(self).__name__}.user_prompt must use {{question}}")

    def messages(self, question: Question) -> list[Message]:
        """The chat that asks `question`."""
        fields = {
            "question": question.question,
            "choices": lettered(question.choices, question.letters),
            "letters": ", ".join(question.letters),
            "instruction": SEVERAL_CHOICES if question.allow_multiple_choices else ONE_CHOICE,
        }
        system = self.system_prompt
        return chat(
            system=None if system is None else system.format(**fields),
            user=self.user_prompt.format(**fields),
            images=question.images,
        )

    async def solve(self, task: MCQTask) -> Answer:
        question = task.question
        messages = self.messages(question)
        reply = await self.ask(messages, sample=task.name, attempt=task.attempt_id)
        record_reply(messages, reply, model=self.model)
        if reply.problem is not None:
            return Answer(None, problem=reply.problem)
        picked = parse_choices(
            reply.text, question.choices, multiple=question.allow_multiple_choices
        )
        return Answer(picked, truncated=reply.truncated)
