"""An agent repairs ten small repositories, each in a machine of its own; hidden tests grade it.

python -m examples.fix_the_test                     a mock agent, which solves seven of ten
python -m examples.fix_the_test model=gpt-4o-mini   a model at $OPENAI_BASE_URL
"""

import ast
import contextlib
import shlex
import tomllib
from pathlib import Path
from typing import Any

import chz
from nanoeval import EvalSpec, RunnerArgs, run
from nanoeval.errors import ConfigError
from nanoeval.setup import nanoeval_entrypoint
from nanoeval.solvers.api_model import APIModel
from nanoeval.solvers.computer_tasks.agents import ToolAgentSolver
from nanoeval.solvers.computer_tasks.code_execution_interface import ComputerInterface
from nanoeval.solvers.computer_tasks.containers import ContainerRuntime
from nanoeval.solvers.computer_tasks.grading import fresh_machine
from nanoeval.solvers.computer_tasks.local import LocalRuntime
from nanoeval.solvers.computer_tasks.mock_agent import MockAgentSolver
from nanoeval.solvers.computer_tasks.solver import ComputerTask, Grade, PythonCodingEval

REPOSITORIES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))["repository"]
PROMPT = "The test in your folder fails. Repair the module that it tests, then submit."
TEST = """import unittest, {0}
class T(unittest.TestCase):
    def test(self): self.assertEqual({0}.{1}, {2})
"""
UNSOLVED = ("words", "cache", "path")  # by the mock agent: it empties the test instead


class FixTheTest(ComputerTask):
    repository: dict[str, Any]

    async def _setup(self, computer: ComputerInterface, runtime_config: Any) -> None:
        name = self.repository["name"]
        await computer.upload(self.repository["code"].encode(), f"{self.cwd}/{name}.py")
        test = TEST.format(name, *self.repository["checks"][0])
        await computer.upload(test.encode(), f"{self.cwd}/test_{name}.py")

    async def grade(self, computer: ComputerInterface, runtime_config: Any) -> Grade:
        name = self.repository["name"]
        calls, expected = zip(*self.repository["checks"], strict=True)
        code = f"from {name} import {name}\nfor call in {calls}: print(repr(eval(call)))"
        async with fresh_machine(self, computer, [f"{self.cwd}/{name}.py"]) as fresh:
            ran = await fresh.send_shell_command(f"python3 -c {shlex.quote(code)}")
        lines, score = ran.unicode_output_best_effort.splitlines(), 0.0
        # Compared out here: in its own process, the agent's code could have any test pass.
        with contextlib.suppress(ValueError, SyntaxError):
            score = float([*map(ast.literal_eval, lines)] == [*map(ast.literal_eval, expected)])
        return Grade(score=score, grader_log="\n".join(lines))

    async def play_solution(self, computer: ComputerInterface, runtime_config: Any) -> None:
        fixed = self.repository["code"].replace(self.repository["bug"], self.repository["fix"])
        await computer.upload(fixed.encode(), f"{self.cwd}/{self.repository['name']}.py")


@chz.chz
class FixTheTestEval(PythonCodingEval):
    def get_name(self) -> str:
        return f"fix-the-test-{self.solver.shortname()}"

    async def get_instances(self) -> list[ComputerTask]:
        prompt: Any = [{"role": "user", "content": PROMPT}]
        return [
            FixTheTest(question_id=one["name"], repository=one, prompt=prompt)
            for one in REPOSITORIES
        ]


def script(name: str, bug: str, fix: str, **_: Any) -> list[Any]:
    test = ("bash", {"command": f"cat {name}.py; python3 -m unittest test_{name}"})
    edit = f"p = '{name}.py'\nt = open(p).read().replace({bug!r}, {fix!r})\nopen(p, 'w').write(t)"
    cheat = ("bash", {"command": f"echo 'import unittest' > test_{name}.py"})
    return [[test], [cheat if name in UNSOLVED else ("python", {"code": edit})], [test]]


async def main(runner: RunnerArgs, model: str | None = None, image: str = "python:3.12") -> None:
    runtime: Any = ContainerRuntime(image=image)
    try:
        await runtime.check_tasks(await FixTheTestEval().get_instances())
        print(f"Machines are containers of {image}.")
    except ConfigError as error:
        print(f"Machines are folders of this host, without isolation: {error}")
        runtime = LocalRuntime()
    scripts = {one["name"]: script(**one) for one in REPOSITORIES}
    solver: ToolAgentSolver = MockAgentSolver(runtime=runtime, scripts=scripts)
    if model is not None:
        solver = ToolAgentSolver(runtime=runtime, model=APIModel(model=model))
    report = await run(EvalSpec(eval=FixTheTestEval(solver=solver), runner=runner))
    print(f"{solver.shortname()} solved {report['aggregations']['num_correct']} of 10.")


if __name__ == "__main__":
    nanoeval_entrypoint(chz.entrypoint(main))
