"""Holds the number of collected tests above a floor, where one is given."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    floor = int(os.environ.get("NANOEVAL_TEST_FLOOR") or 0)
    if len(items) < floor:
        raise pytest.UsageError(
            f"{len(items)} tests were collected, and there should be {floor} or more: some are no "
            "longer found. If they went on purpose, lower NANOEVAL_TEST_FLOOR in .ci/run"
        )
