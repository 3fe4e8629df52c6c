"""A solver whose replies are right, nearly right and wrong, in turn; it needs no model."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import chz
from nanoeval.evallib import SampleReply, SampleSolver, SampleTask
from nanoeval.recorder import get_recorder

VARIANTS = (
    "{0}", "{0} and more", "Well, {0}", "the {0}!", " {0}", "{0}", "nothing", "", "[1, {0}]",
    '{{"a": null}}',
)  # fmt: skip


@chz.chz
class VariedSolver(SampleSolver):
    async def reply(self, task: SampleTask, params: Mapping[str, Any]) -> SampleReply:
        number = zlib.crc32(task.question_id.encode())
        ideal = task.ideal[number % len(task.ideal)]
        cased = (ideal, ideal.upper(), ideal.lower(), ideal)[number // 7 % 4]
        text = VARIANTS[number // 31 % len(VARIANTS)].format(cased)
        get_recorder().record_sampling(task.input, [text])
        return SampleReply(text)
