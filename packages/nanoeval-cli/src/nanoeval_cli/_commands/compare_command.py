"""`nanoeval compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import click
from nanoeval_core.errors import ConfigError
from nanoeval_core.metrics.clustered_mean import MeanEstimate
from nanoeval_core.metrics.many_runs import compare_many
from nanoeval_core.metrics.paired import Comparison, compare
from nanoeval_core.metrics.verdict import fail_if_worse as judge
from nanoeval_runner.formats import format_score

from nanoeval_cli._attempts import scores_of
from nanoeval_cli._command import complete_run, json_option, positive, subcommand
from nanoeval_cli._output import bold, write, write_json, write_table
from nanoeval_cli._runs import RunInfo, find_run

FLIPS = 10
PAIRS = ("difference", "95 % interval", "wins", "losses", "p", "p corrected")


@subcommand("compare")
@click.argument("runs", nargs=-1, shell_complete=complete_run)
@click.option("--common-only", is_flag=True, help="Compare on the questions that both have.")
@click.option("--fail-if-worse", is_flag=True, help="Exit with 1 when B is worse than A.")
@click.option("--margin", type=float, default=0.0, metavar="X", help="How much worse B may be (0).")
@click.option(
    "--when-unclear", type=click.Choice(["pass", "fail"]), default="pass", help="What else fails."
)
@click.option("-n", "--flips", type=positive, default=FLIPS, help="Flipped questions shown (10).")
@json_option
def command(
    *,
    runs: tuple[str, ...],
    common_only: bool,
    fail_if_worse: bool,
    margin: float,
    when_unclear: Literal["pass", "fail"],
    flips: int,
    as_json: bool,
) -> int:
    """Compare runs on the same questions, by paired differences.

    What made a question hard for both cancels. The first run is the baseline A, the second the
    candidate B; with more than two, every pair is compared and p-values are corrected for their
    number.
    """
    if len(runs) < 2:
        raise ConfigError("one run to compare: name two, as in `nanoeval compare A B`")
    if not margin >= 0:
        raise ConfigError(f"--margin {margin:g}: give how much worse B may be, 0 or more")
    found = [find_run(name) for name in runs]
    ids = [run.run_id for run in found]
    if same := next((one for one in ids if ids.count(one) > 1), None):
        raise ConfigError(f"two of the names mean run {same}: name different ones (nanoeval ls)")
    if len(found) > 2:
        if fail_if_worse:
            raise ConfigError("--fail-if-worse compares two runs: the baseline and the candidate")
        return _many(found, as_json=as_json)
    a, b = found
    before = scores_of(a)
    compared = compare(before, scores_of(b, like=before), common_only=common_only)
    verdict = judge(compared, margin=margin, when_unclear=when_unclear)
    if as_json:
        write_json(
            {
                **compared.as_dict(),
                "verdict": verdict._asdict(),
                "runs": {"a": _named(a), "b": _named(b)},
            }
        )
    else:
        reason = verdict.reason if fail_if_worse else None
        show_comparison(a, b, compared, flips=flips, verdict=reason)
    return int(fail_if_worse and verdict.exit_code != 0)


def _named(run: RunInfo) -> dict[str, str]:
    return {"run_id": run.run_id, "eval": run.eval, "model": run.model}


def names_of(runs: Sequence[RunInfo]) -> list[str]:
    """Return what to call runs: their models where these tell them apart, else more than that."""
    for names in (
        [run.model for run in runs],
        [run.eval for run in runs],
        [f"{run.eval} · {run.model}" for run in runs],
    ):
        if all(names) and len(set(names)) == len(runs):
            return names
    return [f"{run.model or run.eval} {run.run_id}" for run in runs]


def show_comparison(
    a: RunInfo, b: RunInfo, found: Comparison, *, flips: int = FLIPS, verdict: str | None = None
) -> None:
    """Print how run b compares with run a."""
    name_a, name_b = names_of([a, b])
    rows = [
        [letter, name, run.run_id, run.eval, _mean(estimate)]
        for letter, name, run, estimate in (("A", name_a, a, found.a), ("B", name_b, b, found.b))
    ]
    write_table(("", "name", "run", "eval", "score"), rows, right=("score",))
    error = "" if found.stderr is None else f" ± {found.stderr:.3f}"
    write(f"\nB - A  {found.difference:+.3f}{error}  {_interval(found)}")
    questions = f"{found.n:,} question{'s' * (found.n != 1)}"
    if found.left_out:
        questions += f" ({found.left_out:,} that only one run has are left out)"
    test = "McNemar test" if found.exact_test == "McNemar" else "paired"
    p_value = "" if found.p_value is None else f" ({test}, p = {found.p_value:.3g})"
    write(f"{questions}: B better on {found.wins:,}, worse on {found.losses:,}{p_value}")
    write(bold(verdict or _conclusion(found, name_a, name_b)))
    for title, changes in (("better", found.improved), ("worse", found.worsened)):
        if changes:
            write(f"\n{title} in B")
            shown = [
                [str(change.question_id), f"{change.mean_a:.2f}", f"{change.mean_b:.2f}"]
                for change in changes[:flips]
            ]
            write_table(("question", "A", "B"), shown, right=("A", "B"))
            if len(changes) > flips:
                write(f"and {len(changes) - flips} more")


def _mean(of: MeanEstimate) -> str:
    return "" if of.mean is None else format_score(of.mean, of.stderr)


def _interval(found: Comparison) -> str:
    if found.low is None or found.high is None:
        return found.why
    return f"95 % interval [{found.low:+.3f}, {found.high:+.3f}]"


def _conclusion(found: Comparison, a: str, b: str) -> str:
    if found.low is None or found.high is None:
        return "The data do not tell which is better."
    if found.low > 0 or found.high < 0:
        return f"B ({b}) is {'better' if found.low > 0 else 'worse'} than A ({a})."
    return "The data do not tell which is better: the interval holds 0."


def _many(runs: Sequence[RunInfo], *, as_json: bool) -> int:
    names = dict(zip(names_of(runs), runs, strict=True))
    scores = {name: scores_of(run) for name, run in names.items()}
    table = compare_many(scores)
    if as_json:
        means = {name: mean.as_dict("mean") for name, mean in table.runs.items()}
        write_json(
            {
                "runs": {name: {**mean, **_named(names[name])} for name, mean in means.items()},
                "pairs": table.as_rows(),
            }
        )
        return 0
    rows = [[name, names[name].run_id, _mean(mean)] for name, mean in table.runs.items()]
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
