"""Recorded replies are scored anew without asking the model again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nanoeval_solvers.testing import ModelServer, Request, Scripted

from tests.cli.test_commands_in_a_terminal import piped
from tests.support.api_server import KEY, MODEL, serving

EVAL = """
import chz
from nanoeval.solvers.mcq import Answer, MCQEval, Question
from nanoeval.solvers.mcq_api import OpenAIAPIMCQSolver


class Solver(OpenAIAPIMCQSolver):
    {override}


@chz.chz
class Letters(MCQEval):
    solver: OpenAIAPIMCQSolver
    shuffle_choices: bool = False

    def get_name(self):
        return "letters"

    async def get_questions(self):
        return [
            Question(id=name, question=name, answers=["A", "B"], correct_indices={{i % 2}})
            for i, name in enumerate(("one", "two", "three", "four"))
        ]
"""


def test_rescore(tmp_path: Path) -> None:
    (tmp_path / "letters.py").write_text(EVAL.format(override="pass"))
    arguments = ("letters:Letters", "solver=OpenAIAPIMCQSolver", f"solver.model={MODEL}")
    with serving(lambda prompt: "I say: Answer: A") as server:
        done = piped(
            *("run", *arguments, f"solver.base_url={server.base_url}", "--json"),
            folder=tmp_path,
            OPENAI_API_KEY=KEY,
        )
        assert done.returncode == 0, done.stderr
        asked = len(server.requests)
    before = json.loads(done.stdout)
    assert before["accuracy"] == 0.5
    again = piped("rescore", before["run_id"], folder=tmp_path, OPENAI_API_KEY=KEY)
    assert again.returncode == 0, again.stderr
    assert "B better on 0, worse on 0" in again.stdout
    # Another order of the choices is another prompt: nothing was recorded for it.
    other = piped(
        *("rescore", before["run_id"], "solver.system_prompt=Be brief."),
        folder=tmp_path,
        OPENAI_API_KEY=KEY,
    )
    assert other.returncode != 0
    assert "this prompt is not in the record" in other.stderr
    # The record says otherwise now: another correct answer in the eval's code.
    (tmp_path / "letters.py").write_text(EVAL.format(override="pass").replace("{i % 2}", "{0}"))
    rescored = piped("rescore", before["run_id"], "--json", folder=tmp_path, OPENAI_API_KEY=KEY)
    found = json.loads(rescored.stdout)
    assert (found["before"]["accuracy"], found["after"]["accuracy"]) == (0.5, 1.0)
    assert asked == 4


def test_without_an_endpoint_it_says_so(tmp_path: Path) -> None:
    piped("new", "sums", folder=tmp_path)
    piped("run", "sums.py:Sums", folder=tmp_path)
    done = piped("rescore", "last", "--eval", "sums.py:Sums", folder=tmp_path)
    assert done.returncode == 2
    assert "has no base_url" in done.stderr


TOOL_EVAL = """
import chz
from nanoeval.solvers.api_model import record_reply
from nanoeval.solvers.mcq import Answer, MCQEval, Question
from nanoeval.solvers.mcq_api import OpenAIAPIMCQSolver
from nanoeval.solvers.tools import Dialogue, tool


@tool
async def look_up(word: str) -> str:
    \"\"\"Look up a word.\"\"\"
    return {"one": "A", "two": "B"}[word]


@chz.chz
class Solver(OpenAIAPIMCQSolver):
    async def solve(self, task):
        dialogue = Dialogue(self.messages(task.question), [look_up], nudges=0)
        found = "none"
        while dialogue.ended is None:
            messages = list(dialogue.messages)
            reply = await self.ask(messages, sample=task.name, tools=[look_up])
            record_reply(messages, reply, model=self.model)
            for result in await dialogue.step(reply):
                found = result.text if result.problem is None else found
        picked = {"A": {0}, "B": {1}}.get(found)
        return task.question.answer(picked)


@chz.chz
class Words(MCQEval):
    solver: Solver
    shuffle_choices: bool = False

    def get_name(self):
        return "words"

    async def get_questions(self):
        return [
            Question(id=name, question=name, choices=("A", "B"), correct_indices={i})
            for i, name in enumerate(("one", "two"))
        ]
"""


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_tool_calls_are_given_again(tmp_path: Path, api: str) -> None:
    (tmp_path / "words.py").write_text(TOOL_EVAL)

    def reply(request: Request) -> Scripted:
        if request.messages[-1]["role"] == "tool" and "Not executed" not in request.prompt:
            return Scripted(text="I see.")
        word = request.messages[0]["content"].split()[0]
        broken = Scripted(
            text=None, tool_calls=({"name": "look_up", "arguments": "{", "id": None},)
        )
        called = Scripted(text="Hm.", tool_calls=(("look_up", {"word": word}),), reasoning="?")
        return broken if word == "two" and len(request.messages) == 1 else called

    arguments = ("words:Words", "solver.model=m", f"solver.api={api}")
    with ModelServer(reply=reply) as server:
        done = piped(
            *("run", *arguments, f"solver.base_url={server.url}", "--json"),
            folder=tmp_path,
            OPENAI_API_KEY=KEY,
        )
        assert done.returncode == 0, done.stderr
        asked = len(server.requests)
    before = json.loads(done.stdout)
    assert (before["accuracy"], asked) == (1, 5)
    again = piped("rescore", before["run_id"], "--json", folder=tmp_path, OPENAI_API_KEY=KEY)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["after"]["accuracy"] == 1
