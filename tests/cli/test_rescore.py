"""Replies that were paid for are used again: scored anew, and after a crash."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from nanoeval_solvers.testing import ModelServer, Request, Scripted

from tests.cli.test_commands_in_a_terminal import piped
from tests.support.api_server import KEY, MODEL, serving
from tests.support.script import environment

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


AGENT_EVAL = """
import chz
from nanoeval.solvers.computer_tasks.agents import ToolAgentSolver
from nanoeval.solvers.computer_tasks.local import LocalRuntime
from nanoeval.solvers.computer_tasks.solver import ComputerTask, Grade, PythonCodingEval

LENIENT = False


class Guess(ComputerTask):
    number: str

    async def _setup(self, computer, runtime_config):
        await computer.upload(self.number.encode(), "/root/number")

    async def grade(self, computer, runtime_config):
        answer = await computer.send_shell_command("cat ANSWER.txt")
        right = LENIENT or answer.output == self.number.encode()
        return Grade(score=float(right), grader_log=f"answered {answer.output.decode()!r}")


@chz.chz
class Guesses(PythonCodingEval):
    def get_name(self):
        return "guesses"

    async def get_instances(self):
        prompt = [{"role": "user", "content": "Submit the number."}]
        return [Guess(question_id=f"q{n}", number=n, prompt=prompt) for n in "123"]
"""


def test_agents_act_again_as_the_model_had_them_act(tmp_path: Path) -> None:
    """All tasks begin with the same prompt, and tools do not say the same twice."""
    (tmp_path / "guesses.py").write_text(AGENT_EVAL)

    def reply(request: Request) -> Scripted:
        said = request.messages[-1]["content"]
        if request.messages[-1]["role"] == "tool":
            answer = {"1": "1", "2": "2", "3": "4"}[said[0]]
            return Scripted(tool_calls=(("submit", {"answer": answer}),))
        return Scripted(tool_calls=(("bash", {"command": "cat number; date +%N"}),))

    with ModelServer(reply=reply) as server:
        words = ("guesses.py", "model=m", f"solver.model.base_url={server.url}")
        done = piped(
            *("run", *words, "solver.runtime=LocalRuntime", "--json"),
            folder=tmp_path,
            OPENAI_API_KEY=KEY,
        )
        assert done.returncode == 0, done.stderr
    before = json.loads(done.stdout)
    assert before["accuracy"] == pytest.approx(2 / 3)

    def rescored() -> Any:
        again = piped("rescore", before["run_id"], "--json", folder=tmp_path, OPENAI_API_KEY=KEY)
        return json.loads(again.stdout)["after"]

    assert rescored()["accuracy"] == before["accuracy"]
    (tmp_path / "guesses.py").write_text(AGENT_EVAL.replace("LENIENT = False", "LENIENT = True"))
    assert rescored()["accuracy"] == 1
    (tmp_path / "guesses.py").write_text(AGENT_EVAL.replace("Submit the", "Say the"))
    assert rescored()["missing_tasks"] == ["q1", "q2", "q3"]
    shown = piped("samples", before["run_id"], "--wrong", folder=tmp_path).stdout
    assert shown.startswith("── q3 · attempt 0 · wrong")
    turns = shown[shown.index("    [user]") :].splitlines()
    assert turns[:2] == ["    [user] Submit the number.", "  reply"]
    assert turns[2] == '    calls bash {"command": "cat number; date +%N"}'
    assert turns[3] == "  prompt, after the 2 messages before"
    assert turns[4].startswith("    [tool] 3")
    assert turns[-4:-1] == [
        '    calls submit {"answer": "4"}',
        "  result, submitted",
        "    answered '4'",
    ]


def test_a_killed_agent_goes_on_where_its_model_was(tmp_path: Path) -> None:
    """What the model had called is called again by `resume`, in new machines, without asking it."""
    (tmp_path / "guesses.py").write_text(AGENT_EVAL)
    asked: Counter[int] = Counter()
    all_wait, is_killed = threading.Event(), False

    def reply(request: Request) -> Scripted:
        turn = len(request.messages) // 2 - 1
        asked[turn] += 1
        if turn == 2 and not is_killed:
            if asked[2] == 3:
                all_wait.set()
            return Scripted(fault="hang")
        said = request.messages[-1]["content"]
        tokens = {"prompt_tokens": 10, "completion_tokens": 1}
        if turn == 2:
            return Scripted(tool_calls=(("submit", {"answer": said}),), usage=tokens)
        return Scripted(tool_calls=(("bash", {"command": "cat number"}),), usage=tokens)

    with ModelServer(reply=reply) as server:
        words = ("guesses.py", "model=m", f"solver.model.base_url={server.url}")
        more = ("solver.runtime=LocalRuntime", "runner.run_set_id=mine")
        run = subprocess.Popen(
            [sys.executable, "-m", "nanoeval", "run", *words, *more],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(tmp_path, OPENAI_API_KEY=KEY),
            cwd=tmp_path,
        )
        try:
            assert all_wait.wait(60)
        finally:
            run.kill()
            run.wait()
        is_killed = True
        assert asked == {0: 3, 1: 3, 2: 3}
        done = piped("resume", "mine", "--json", folder=tmp_path, OPENAI_API_KEY=KEY)
        assert done.returncode == 0, done.stderr
    assert asked == {0: 3, 1: 3, 2: 6}
    (summary,) = json.loads(done.stdout)
    assert summary["accuracy"] == 1
    assert summary["usage"]["cache_hits"] == 6
    shown = piped("samples", "last", "--json", folder=tmp_path)
    assert [len(sample["samplings"]) for sample in json.loads(shown.stdout)] == [3, 3, 3]
    record = "".join(path.read_text() for path in (tmp_path / "records").glob("*.jsonl"))
    results = re.findall(r'"ended": ?"submitted".*?"total_tokens": ?(\d+)', record)
    assert results == ["33", "33", "33"]  # as without the interruption
