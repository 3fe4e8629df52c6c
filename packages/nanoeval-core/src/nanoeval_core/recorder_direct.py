"""The part of `RecorderProtocol` that a transactional recorder can have for free."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from nanoeval_core.errors import RolloutSystemError
from nanoeval_core.recorder_base import CallMethods
from nanoeval_core.recorder_protocol import EventEncoder


class DirectRecording(CallMethods):
    """Recording outside of the runner's attempts, by way of `encoder` and `write_events`.

    A mixin for classes that implement `TransactionalRecorder`: each call is an attempt of its
    own, written when it returns; `as_default_recorder` writes when its `with` block ends.
    """

    @abstractmethod
    def encoder(self) -> EventEncoder: ...

    @abstractmethod
    def write_events(self, events: Sequence[bytes]) -> None: ...

    def current_sample_id(self) -> str | None:
        return None

    def current_group_id(self) -> str | None:
        return None

    @contextlib.contextmanager
    def as_default_recorder(self, sample_id: str, group_id: str, **extra: Any) -> Iterator[Any]:
        attempt = self.encoder().attempt(sample_id, group_id)
        completed = True
        try:
            with attempt.as_default_recorder(sample_id, group_id, **extra) as bound:
                yield bound
        except RolloutSystemError:
            completed = False
            raise
        finally:
            self.write_events([attempt.take(completed=completed)])

    def record_call(self, method: str, *arguments: Any, **keywords: Any) -> None:
        attempt = self.encoder().attempt(None, None)
        getattr(attempt, method)(*arguments, **keywords)
        self.write_events([attempt.take(completed=True)])
