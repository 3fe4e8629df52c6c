"""Makes the pictures of docs/monitor.md: a real run of a mock model, looked at in Chromium.

python scripts/monitor_screenshots.py

Needs nanoeval-monitor, playwright, and chromium on the path. No model is measured: its replies are
drawn at random.
"""

import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import chz
from nanoeval import EvalSpec, RolloutSystemError, RunnerArgs, run
from nanoeval.recorder import get_recorder
from nanoeval.solvers.mcq import Answer, MCQEval, MCQSolver, MCQTask, Question
from nanoeval_core.run_context import get_run_context
from nanoeval_core.usage import Usage, report_usage

IMAGES = Path(__file__).parents[1] / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
TOPICS = {"algebra": 0.82, "geometry": 0.7, "number theory": 0.61, "sequences": 0.52}
SETTLE = 3500  # milliseconds for plots to have something to show


class RateLimitError(RolloutSystemError):
    pass


@chz.chz
class DrawnAtRandom(MCQSolver[Answer]):
    """Answers like a model that knows some of it, says why, and is sometimes rate-limited."""

    skill: float = 0.0
    latency: float = 0.0

    async def solve(self, task: MCQTask) -> Answer:
        dice = random.Random(f"{self.skill}{task.name}.{task.retry_idx}")
        await asyncio.sleep(dice.expovariate(1 / self.latency) if self.latency else 0)
        if self.latency and dice.random() < 0.02:
            raise RateLimitError("429 Too Many Requests: try again in 2 s")
        question = task.question
        right = dice.random() < TOPICS[question.metadata["topic"]] + self.skill
        (correct,) = question.correct_indices
        others = [n for n in range(len(question.choices)) if n != correct]
        picked = correct if right else dice.choice(others)
        letter = question.letters[picked]
        said = "Let us check each choice in turn. " * dice.randint(1, 6 if right else 9)
        reply = f"{said}\n\nOnly {question.choices[picked]} fits.\n\nAnswer: {letter}"
        options = [f"{a}) {b}" for a, b in zip(question.letters, question.choices, strict=True)]
        prompt = [{"role": "user", "content": "\n".join([question.question, "", *options])}]
        context = get_run_context()
        if context is not None and self.latency:
            context.gauges["endpoint limit"] = float(96 + dice.randint(-6, 6))
        report_usage(Usage(requests=1, prompt_tokens=210, completion_tokens=95, cost=0.00009))
        get_recorder().record_sampling(prompt, [reply])
        if dice.random() < 0.015:
            return question.answer(None)
        certain = min(1.0, max(0.0, dice.gauss(0.78 if right else 0.5, 0.17)))
        return question.answer({picked}, prob_correct=certain)


@chz.chz
class Puzzles(MCQEval):
    n: int = 240

    def get_name(self) -> str:
        return "puzzles"

    async def get_questions(self) -> list[Question]:
        return [_question(number) for number in range(self.n)]


def _question(number: int) -> Question:
    dice = random.Random(number)
    topic = list(TOPICS)[number % len(TOPICS)]
    a, b = dice.randint(2, 40), dice.randint(2, 12)
    texts = {
        "algebra": (f"If x + {a} = {a * b}, what is x?", a * b - a),
        "geometry": (f"A rectangle has sides {a} and {b}. What is its perimeter?", 2 * (a + b)),
        "number theory": (f"What is the remainder of {a * 97} divided by {b}?", a * 97 % b),
        "sequences": (f"Which number follows {a}, {a + b}, {a + 2 * b}, {a + 3 * b}?", a + 4 * b),
    }
    text, answer = texts[topic]
    choices = (str(answer), str(answer + 1), str(answer + b), str(abs(answer - 2) + 3 * b))
    return Question(
        id=f"{topic.replace(' ', '-')}-{number:03}",
        question=text,
        answers=list(choices),
        correct_indices={0},
        metadata={"topic": topic},
    )


async def _finished_runs() -> None:
    for model, skill in (("mock-small", 0.0), ("mock-large", 0.09), ("mock-tiny", -0.2)):
        runner = RunnerArgs(model_name=model, should_backup=False)
        solver = DrawnAtRandom(skill=skill)
        await run(EvalSpec(eval=Puzzles(solver=solver, n_consensus=3), runner=runner))


def _live_run() -> None:
    solver = DrawnAtRandom(skill=0.05, latency=0.4)
    runner = RunnerArgs(
        concurrency=96,
        model_name="mock-medium",
        should_backup=False,
        experimental_use_multiprocessing=True,
        num_processes=2,
        run_set_id="puzzles-medium",
    )
    eval = Puzzles(solver=solver, n=1500, n_consensus=8)
    asyncio.run(run(EvalSpec(eval=eval, runner=runner)))


def main() -> None:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  only to take pictures

    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"NANOEVAL_STATE_DIR": f"{folder}/state", "NANOEVAL_LOG_DIR": folder}
        os.environ["LOGNAME"] = "ada"
        asyncio.run(_finished_runs())
        live = subprocess.Popen([sys.executable, __file__, "live"])
        command = [sys.executable, "-m", "nanoeval_monitor", "port=0", "until_closed=True"]
        monitor = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert monitor.stdout is not None
            url = monitor.stdout.readline().partition(": ")[2].strip()
            with sync_playwright() as playwright:
                path = shutil.which("chromium")
                browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
                _take(browser, url)
                browser.close()
        finally:
            live.kill()
            monitor.kill()
            live.wait()
            monitor.wait()


def _take(browser: Any, url: str) -> None:
    base = url.partition("#")[0]
    page = browser.new_page(viewport={"width": 1240, "height": 900})
    page.goto(url)
    page.locator(".card", has_text="puzzles-medium").click()
    page.locator(".plot-svg").nth(3).wait_for()
    page.locator(".executor").nth(1).wait_for()
    page.locator(".errors details").first.wait_for()
    page.wait_for_timeout(4 * SETTLE)
    page.set_viewport_size({"width": 1240, "height": 1180})
    page.screenshot(path=IMAGES / "live.png")
    page.goto(f"{base}#/")
    page.locator("table.runs tbody tr").nth(3).wait_for()
    page.wait_for_timeout(500)
    page.set_viewport_size({"width": 1240, "height": 560})
    page.screenshot(path=IMAGES / "runs.png")
    keys = page.evaluate("fetch('api/runs').then(r => r.json())")["runs"]
    key = {run["model"]: run["key"] for run in keys}
    _shot(page, f"{base}#/run/{key['mock-small']}", ".dot-row", "run.png", 900)
    page.emulate_media(color_scheme="dark")
    samples = f"{base}#/run/{key['mock-small']}/samples?verdict=wrong"
    _shot(page, samples, ".row", "list.png", 700)
    page.locator(".row").nth(3).click()
    page.locator(".attempt").first.wait_for()
    page.wait_for_timeout(400)
    page.screenshot(path=IMAGES / "samples.png")
    (IMAGES / "list.png").unlink()
    compared = f"{base}#/compare?runs={key['mock-small']},{key['mock-large']}"
    page.emulate_media(color_scheme="light")
    _shot(page, compared, ".difference", "compare.png", 760)


def _shot(page: Any, url: str, wait_for: str, name: str, height: int) -> None:
    page.goto(url)
    page.set_viewport_size({"width": 1240, "height": height})
    page.locator(wait_for).first.wait_for()
    page.wait_for_timeout(600)
    page.screenshot(path=IMAGES / name)


if __name__ == "__main__":
    _live_run() if sys.argv[1:] == ["live"] else main()
