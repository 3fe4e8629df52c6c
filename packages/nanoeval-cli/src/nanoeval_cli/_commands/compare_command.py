"""`nanoeval compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nanoeval_core.errors import ConfigError
from nanoeval_core.metrics.many_runs import compare_many
from nanoeval_core.metrics.paired import Change, Comparison, Scores, compare
from nanoeval_core.metrics.verdict import fail_if_worse
from nanoeval_runner.formats import format_score

from nanoeval_cli._attempts import scores_by_question
from nanoeval_cli._catalogue import RunInfo, find_run, record_path
from nanoeval_cli._command import Parser, positive
from nanoeval_cli._output import bold, write, write_json, write_table

EXIT_UNKNOWN = 1
FLIPS = 10
PAIRS = ("difference", "95 % interval", "wins", "losses", "p", "p corrected")


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "compare",
        "Compare runs on the same questions, by paired differences: what made a question hard for\n"
        "both cancels. The first run is the baseline A, the second the candidate B; with more\n"
        "than two, every pair is compared and p-values are corrected for their number.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run ids, or records' paths")
    parser.add_argument(
        "--common-only", action="store_true", help="compare on the questions that both have"
    )
    parser.add_argument(
        "--fail-if-worse",
        action="store_true",
        help="exit with 1 when the whole interval says that B is worse than A",
    )
    parser.add_argument(
        "--margin", type=float, default=0.0, metavar="X", help="how much worse B may be (0)"
    )
    parser.add_argument(
        "--when-unclear", choices=("pass", "fail"), default="pass", help="what else is to fail"
    )
    parser.add_argument(
        "-n", "--flips", type=positive, default=FLIPS, help="flipped questions (10)"
    )
    parser.add_json()
    asked = parser.parse_args(arguments)
    if len(asked.runs) < 2:
        raise ConfigError("one run to compare: name two, as in `nanoeval compare A B`")
    if not asked.margin >= 0:
        raise ConfigError(f"--margin {asked.margin:g}: give how much worse B may be, 0 or more")
    runs = [find_run(name) for name in asked.runs]
    if len(runs) > 2:
        if asked.fail_if_worse:
            raise ConfigError("--fail-if-worse compares two runs: the baseline and the candidate")
        return _many(runs, as_json=asked.json)
    return _two(runs[0], runs[1], asked)


def _two(a: RunInfo, b: RunInfo, asked: Any) -> int:
    scores = [scores_by_question(record_path(run)) for run in (a, b)]
    found = compare(scores[0], scores[1], common_only=asked.common_only)
    verdict = fail_if_worse(found, margin=asked.margin, when_unclear=asked.when_unclear)
    if asked.json:
        write_json({**found.as_dict(), "verdict": verdict._asdict()})
    else:
        _show(a, b, found, flips=asked.flips)
    if not asked.fail_if_worse:
        return 0
    if not asked.json:
        write(verdict.reason)
    return min(verdict.exit_code, EXIT_UNKNOWN)


def show_comparison(a: RunInfo, b: RunInfo, scores_a: Scores, scores_b: Scores) -> None:
    """Print how run b compares with run a."""
    _show(a, b, compare(scores_a, scores_b, common_only=True), flips=FLIPS)


def _show(a: RunInfo, b: RunInfo, found: Comparison, *, flips: int) -> None:
    rows = [
        [letter, run.run_id, run.eval, run.model, _mean(estimate.mean, estimate.stderr)]
        for letter, run, estimate in (("A", a, found.a), ("B", b, found.b))
    ]
    write_table(("", "run", "eval", "model", "score"), rows, right=("score",))
    error = "" if found.stderr is None else f" ± {found.stderr:.3f}"
    write(f"\nB - A  {found.difference:+.3f}{error}  {_interval(found)}")
    questions = f"{found.n:,} questions"
    if found.left_out:
        questions += f" ({found.left_out:,} that only one run has are left out)"
    write(f"{questions}: B better on {found.wins:,}, worse on {found.losses:,}")
    write(f"{found.exact_test} test, exact: p = {found.exact_p_value:.3g}")
    write(bold(_conclusion(found)))
    for title, changes in (("better", found.improved), ("worse", found.worsened)):
        if changes:
            write(f"\n{title} in B")
            write_table(
                ("question", "A", "B"),
                [_change(change) for change in changes[:flips]],
                right=("A", "B"),
            )
            if len(changes) > flips:
                write(f"and {len(changes) - flips} more")


def _mean(mean: float | None, stderr: float | None) -> str:
    return "" if mean is None else format_score(mean, stderr)


def _change(change: Change) -> list[str]:
    return [str(change.question_id), f"{change.mean_a:.2f}", f"{change.mean_b:.2f}"]


def _interval(found: Comparison) -> str:
    if found.low is None or found.high is None:
        return found.why
    return f"95 % interval [{found.low:+.3f}, {found.high:+.3f}]"


def _conclusion(found: Comparison) -> str:
    if found.low is None or found.high is None:
        return "The data do not tell which is better."
    if found.low > 0:
        return "B is better than A."
    if found.high < 0:
        return "B is worse than A."
    return "The data do not tell which is better: the interval holds 0."


def _many(runs: Sequence[RunInfo], *, as_json: bool) -> int:
    names: dict[str, RunInfo] = {}
    for run in runs:
        label = run.model or run.eval
        names[label if label not in names else f"{label} {run.run_id}"] = run
    scores = {name: scores_by_question(record_path(run)) for name, run in names.items()}
    table = compare_many(scores)
    if as_json:
        write_json(
            {
                "runs": {n: m.as_dict("mean") for n, m in table.runs.items()},
                "pairs": table.as_rows(),
            }
        )
        return 0
    rows = [[name, names[name].run_id, _mean(m.mean, m.stderr)] for name, m in table.runs.items()]
    write_table(("run", "id", "score"), rows, right=("score",))
    write("")
    pairs = [
        [
            f"{row.b} - {row.a}",
            f"{row.comparison.difference:+.3f}",
            _interval(row.comparison).removeprefix("95 % interval "),
            str(row.comparison.wins),
            str(row.comparison.losses),
            "" if row.comparison.p_value is None else f"{row.comparison.p_value:.3g}",
            "" if row.adjusted_p_value is None else f"{row.adjusted_p_value:.3g}",
        ]
        for row in table.rows
    ]
    write_table(("pair", *PAIRS), pairs, right=PAIRS)
    return 0
