"""Short answers over an OpenAI-compatible API: ask, then take the answer out of the reply."""

from __future__ import annotations

import json
import re

import chz
from nanoeval_core.errors import ConfigError

from nanoeval_solvers._replies.boxed import boxed
from nanoeval_solvers._templates import Message, chat, check_template
from nanoeval_solvers.api_model import APIModel, record_reply
from nanoeval_solvers.short_answer import Answer, Question, ShortAnswerSolver, ShortAnswerTask

INSTRUCTION = (
    "Think as much as you need, then end with one line of the form `Answer: …`, with the answer "
    "alone."
)
_SCHEMA = {
    "name": "answer",
    "strict": True,
    "schema": {
        "type": "object",
        "properties": {"reasoning": {"type": "string"}, "answer": {"type": "string"}},
        "required": ["reasoning", "answer"],
        "additionalProperties": False,
    },
}
_LINE = re.compile(
    r"^[\s>#*_`-]*(?:final\s+|the\s+|correct\s+)*(?:answer|答案|答え|정답|ответ|réponse|respuesta|antwort)"
    r"(?:[\s*_`]*[:：=]|\s+is\b:?)[\s*_`]*(?P<answer>[^\n]*?)[\s*_`]*$",
    re.IGNORECASE | re.MULTILINE,
)
_THOUGHT = re.compile(r"^.*</(?:think|thinking|reasoning)>", re.IGNORECASE | re.DOTALL)


def answer_in(reply: str) -> str | None:
    """The answer that `reply` states: its last `Answer: …` line or `\\boxed{…}`, or all of it when
    it is one short line. None when it states none."""
    text = _THOUGHT.sub("", reply).strip()
    if "<think" in text.lower():
        return None
    lines = [match["answer"] for match in _LINE.finditer(text)]
    stated = [answer for answer in lines if answer]
    boxes = boxed(stated[-1] if stated else text)
    if boxes:
        return boxes[-1].strip() or None
    if stated:
        return stated[-1].strip()
    if lines:
        return None
    return text if text and "\n" not in text and len(text) <= 100 else None


@chz.chz
class OpenAIAPIShortAnswerSolver(APIModel, ShortAnswerSolver):
    """Asks the question in a chat and takes the answer out of the reply.

    The prompts are templates with `{question}` and `{instruction}` (how to give the answer).
    """

    system_prompt: str | None = chz.field(default=None, doc="A template; None sends none.")
    user_prompt: str = chz.field(default="{question}\n\n{instruction}", doc="A template.")
    structured: bool = chz.field(
        default=False, doc="Ask for the answer as JSON, by a schema that the endpoint enforces."
    )

    @chz.validate
    def _check_prompts(self) -> None:
        where = type(self).__name__
        for name in ("system_prompt", "user_prompt"):
            template = getattr(self, name)
            if template is not None:
                check_template(template, ("question", "instruction"), name=f"{where}.{name}")
        if "{question}" not in self.user_prompt:
            raise ConfigError(f"{where}.user_prompt must use {{question}}")

    def messages(self, question: Question) -> list[Message]:
        """The chat that asks `question`."""
        instruction = (
            "Give your reasoning, then the answer alone." if self.structured else (INSTRUCTION)
        )
        fields = {"question": question.question, "instruction": instruction}
        system = self.system_prompt
        return chat(
            system=None if system is None else system.format(**fields),
            user=self.user_prompt.format(**fields),
            images=question.images,
        )

    async def solve(self, task: ShortAnswerTask) -> Answer:
        messages = self.messages(task.question)
        schema = {"response_format": {"type": "json_schema", "json_schema": _SCHEMA}}
        reply = await self.ask(
            messages,
            sample=task.name,
            attempt=task.attempt_id,
            params=schema if self.structured else None,
        )
        record_reply(messages, reply, model=self.model)
        if reply.problem is not None:
            return Answer(None, problem=reply.problem)
        text = _structured_answer(reply.text) if self.structured else answer_in(reply.text)
        return Answer(text, truncated=reply.truncated)


def _structured_answer(reply: str) -> str | None:
    try:
        content = json.loads(reply)
    except ValueError:
        return None
    answer = content.get("answer") if isinstance(content, dict) else None
    return answer.strip() or None if isinstance(answer, str) else None
