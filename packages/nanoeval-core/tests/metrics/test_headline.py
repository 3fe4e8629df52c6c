"""The one number of a summary that a table shows."""

from __future__ import annotations

import math

import pytest
from nanoeval_core.metrics.headline import headline, score_names


@pytest.mark.parametrize("value", [10**400, -(10**400), math.inf, math.nan, True, "0.5", None])
def test_what_is_no_number_of_a_table_is_passed_over(value: object) -> None:
    found = headline({"accuracy": value, "score": 0.5, "score_stderr": value})
    assert found is not None
    assert (found.name, found.value, found.stderr) == ("score", 0.5, None)
    assert score_names({"tokens": value}) == []
