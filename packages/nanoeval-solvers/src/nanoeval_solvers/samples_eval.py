"""`SamplesEval`: the evals whose samples ship with the `evals` package, as nanoevals."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, NamedTuple

import chz
from nanoeval_core.asyncio_utils import HasAsyncContextManager
from nanoeval_core.errors import ConfigError
from nanoeval_core.eval import Eval, ProgressBar
from nanoeval_core.recorder import get_recorder
from nanoeval_core.task import Task

from nanoeval_solvers._evals.registry import (
    RegisteredEval,
    find_eval,
    read_questions,
    read_samples,
)
from nanoeval_solvers._templates import Message, lettered
from nanoeval_solvers.api_model import APIModel, record_reply

__all__ = [
    "APISampleSolver",
    "MockSampleSolver",
    "SampleReply",
    "SampleResult",
    "SampleSolver",
    "SampleTask",
    "SamplesEval",
]

SHUFFLE_SEED = 123  # evallib's own, by which `--max_samples` chooses
SEED = 20220722  # the default of oaieval's --seed

RESPONSES_MIN_TOKENS = 16  # the responses API refuses a lower limit

Prompt = tuple[list[Message], list[str]]
"""A chat and the answers to it that are right."""


class SampleTask(Task):
    """One attempt at one sample.

    Args:
        input: the chat that asks.
        ideal: the answers that are right.
    """

    input: list[Message]
    ideal: list[str]


class SampleResult(NamedTuple):
    """How a reply scored: `f1` for fuzzy matches only, `problem` when there was no reply."""

    correct: bool
    f1: float | None = None
    problem: str | None = None


class SampleReply(NamedTuple):
    """A solver's reply; `text` is None when the endpoint refused, for `problem`."""

    text: str | None
    problem: str | None = None


@chz.chz
class SampleSolver(HasAsyncContextManager, ABC):
    """Replies to a chat. Override `reply`."""

    @abstractmethod
    async def reply(self, task: SampleTask, params: Mapping[str, Any]) -> SampleReply:
        """Reply to `task.input`, recording what was asked and replied.

        Args:
            task: the sample.
            params: what evallib would send with it, such as a temperature.

        Raises:
            RolloutSystemError: the system failed, not the model; the task is retried.
        """


@chz.chz
class APISampleSolver(APIModel, SampleSolver):
    """Asks a model behind an OpenAI-compatible endpoint."""

    model: str = chz.field(default="gpt-4o-mini", doc="The model's name, as the endpoint knows it.")

    async def reply(self, task: SampleTask, params: Mapping[str, Any]) -> SampleReply:
        sent = self._as_sent(params)
        reply = await self.ask(task.input, sample=task.name, attempt=task.attempt_id, params=sent)
        record_reply(task.input, reply, model=self.model)
        return SampleReply(None if reply.problem else reply.text, reply.problem)

    def _as_sent(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return `params` as this model takes them; what the solver's own fields say goes first."""
        wanted = {name: value for name, value in params.items() if getattr(self, name) is None}
        if self.reasoning_effort is not None:  # takes no temperature, and thinks beyond any limit
            return {}
        if self.api == "responses" and "max_tokens" in wanted:
            wanted["max_output_tokens"] = max(wanted.pop("max_tokens"), RESPONSES_MIN_TOKENS)
        return wanted


@chz.chz
class MockSampleSolver(SampleSolver):
    """Replies with an ideal answer or with another, without a model; the same for the same seed."""

    accuracy: float = chz.field(default=0.5, doc="The probability of an ideal answer.")
    seed: int = chz.field(default=0, doc="Decides which replies are ideal.")

    async def reply(self, task: SampleTask, params: Mapping[str, Any]) -> SampleReply:
        rng = random.Random(f"{self.seed}:{task.name}")
        text = task.ideal[0] if rng.random() < self.accuracy else "§"
        get_recorder().record_sampling(task.input, [text], model="mock")
        return SampleReply(text)


@chz.chz
class SamplesEval(Eval[SampleTask, SampleResult]):
    """An eval of the `evals` package's registry, by name: its samples, its scoring, our runner.

    Sample ids are those of evallib's own records (`2d_movement.dev.17`), so that two records of
    the same eval can be joined.
    """

    name: str = chz.field(doc="The eval in the registry, such as 2d_movement or 2d_movement.dev.v0")
    solver: SampleSolver = chz.field(
        meta_factory=chz.factories.subclass(SampleSolver, default_cls=APISampleSolver),
        default_factory=APISampleSolver,
        doc="Replies: APISampleSolver, MockSampleSolver, or module:Class.",
    )
    registry_path: tuple[str, ...] = chz.field(
        default=(), doc="Further registries to look in, before that of the evals package."
    )
    max_samples: int | None = chz.field(
        default=None, doc="Only so many samples: those that oaieval --max_samples chooses."
    )
    seed: int = chz.field(default=SEED, doc="Shuffles choices, as oaieval --seed does.")
    n_consensus: int = chz.field(default=1, doc="Attempts at each sample.")

    @chz.validate
    def _check_numbers(self) -> None:
        for name in ("n_consensus", "max_samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"SamplesEval.{name}={value}: give 1 or more")

    @chz.init_property
    def entry(self) -> RegisteredEval:
        """The eval's entry in the registry."""
        return find_eval(self.name, self.registry_path)

    def get_name(self) -> str:
        return self.entry.name

    async def get_tasks(self) -> list[SampleTask]:
        entry = self.entry
        multiple = entry.form.name == "multiple_choice"
        samples = read_questions(entry) if multiple else read_samples(entry)
        prompts = self._choice_prompts(samples) if multiple else self._prompts(samples)
        chosen = list(range(len(prompts)))
        if self.max_samples is not None:
            random.Random(SHUFFLE_SEED).shuffle(chosen)
            chosen = chosen[: self.max_samples]
        return [
            SampleTask(
                question_id=self._sample_id(index),
                attempt_id=attempt,
                input=prompts[index][0],
                ideal=prompts[index][1],
            )
            for index in chosen
            for attempt in range(1, self.n_consensus + 1)
        ]

    def _sample_id(self, index: int) -> str:
        base, split = [*self.entry.name.split("."), ""][:2]
        return f"{base}.{split}.{index}".replace("/", "-")

    def _prompts(self, samples: Sequence[Mapping[str, Any]]) -> list[Prompt]:
        count = int(self.entry.args.get("num_few_shot") or 0)
        shown = read_samples(self.entry, "few_shot_jsonl")[:count] if count else []
        shots = [message for shot in shown for message in shot["sample"]]
        prompts: list[Prompt] = []
        for number, sample in enumerate(samples, 1):
            asked, ideal = sample.get("input"), sample.get("ideal")
            # evallib sends a bare text as a system message
            system = {"role": "system", "content": asked}
            chat: Any = [system] if isinstance(asked, str) else asked
            answers: Any = ideal if isinstance(ideal, list) else [ideal]
            for name, parts, kind, wanted in (
                ("input", chat, dict, "a text or a chat"),
                ("ideal", answers, str, "a text or texts"),
            ):
                is_list = isinstance(parts, list) and bool(parts)
                if not is_list or not all(isinstance(part, kind) for part in parts):
                    raise ConfigError(
                        f"eval {self.entry.name!r}, sample {number}: `{name}` must be {wanted}, "
                        f"got {sample.get(name)!r:.200}"
                    )
            prompts.append(([*chat[:-1], *shots, *chat[-1:]], answers))
        return prompts

    def _choice_prompts(self, questions: Sequence[Mapping[str, Any]]) -> list[Prompt]:
        """Return choices shuffled as evallib shuffles them, by `seed` and the sample's id."""
        instructions = self.entry.args.get("instructions") or ""
        prompts: list[Prompt] = []
        for index, question in enumerate(questions):
            order = list(range(len(question["answers"])))
            rng = random.Random(f"{self._sample_id(index)}:{self.seed}".encode())
            rng.shuffle(order)
            letters = [chr(ord("A") + place) for place in range(len(order))]
            options = lettered([question["answers"][answer] for answer in order], letters)
            text = (
                f"{instructions}\nPlease answer with the letter of the correct answer."
                f"\n\n{question['question']}\n{options}"
            )
            right = letters[order.index(question["label"])]
            prompts.append(([{"role": "system", "content": text}], [right]))
        return prompts

    async def _context(self) -> AsyncGenerator[None, None]:
        async with self.solver:
            yield

    async def evaluate(self, task: SampleTask) -> SampleResult:
        form, args = self.entry.form, self.entry.args
        params = dict(form.params)
        if "max_tokens" in params:
            params["max_tokens"] = args.get("max_tokens", params["max_tokens"])
        reply = await self.solver.reply(task, params)
        if reply.text is None:
            get_recorder().record_match(
                False, expected=task.ideal, picked=None, problem=reply.problem
            )
            return SampleResult(False, problem=reply.problem)
        options = {"ignore_case": bool(args.get("ignore_case"))} if form.name == "includes" else {}
        score = form.score(reply.text, task.ideal, **options)
        expected = task.ideal[0] if len(task.ideal) == 1 else task.ideal
        get_recorder().record_match(score.correct, expected=expected, picked=score.picked)
        if score.f1 is not None:
            get_recorder().record_sample_completed(accuracy=float(score.correct), f1_score=score.f1)
        return SampleResult(score.correct, score.f1)

    async def get_summary(self, results: list[tuple[SampleTask, SampleResult]]) -> dict[str, Any]:
        # Deferred: statistics are needed when a run ends, not when an eval is defined.
        from nanoeval_solvers._summary import mean_of  # noqa: PLC0415

        f1 = [(task.question_id, result.f1) for task, result in results if result.f1 is not None]
        correct = [(task.question_id, float(result.correct)) for task, result in results]
        summary = {
            **mean_of("accuracy", correct),
            "n": len(dict(correct)),
            "num_correct": sum(result.correct for _, result in results),
            "num_refused": sum(result.problem is not None for _, result in results),
        }
        return {**summary, **mean_of("f1_score", f1)} if f1 else summary

    async def update_progress(
        self,
        partial_results: list[tuple[SampleTask, SampleResult]],
        pbar: ProgressBar,
    ) -> None:
        scores = [result.correct for _, result in partial_results]
        if scores:
            pbar.set_postfix(accuracy=f"{sum(scores) / len(scores):.3f}")
