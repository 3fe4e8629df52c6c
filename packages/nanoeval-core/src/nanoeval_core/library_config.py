"""The hooks a team changes once for all its evals: logging, notifications, defaults, folders.

Subclass `LibraryConfig`, override what differs, and call `set_library_config` at import time of
your own package or at the top of your script. Executor processes get the same object.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from nanoeval_core.recorder import find_recorder
from nanoeval_core.recorder_protocol import RecorderConfig


class LibraryConfig:
    """Defaults that suit a single researcher. Must stay picklable."""

    def setup_logging(self) -> None:
        """Configure logging of a process that runs evals. Called by `nanoeval_logging`."""
        logging.basicConfig(
            level=os.environ.get("NANOEVAL_LOG_LEVEL", "WARNING").upper(),
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )

    def send_user_notification(self, message: str, extra: str | None = None) -> None:
        """Tell the user of a start, an end or a failure.

        Posts to the webhook `NANOEVAL_WEBHOOK_URL`; does nothing without one.
        """
        url = os.environ.get("NANOEVAL_WEBHOOK_URL")
        if url:
            from nanoeval_core import _webhook as webhook  # noqa: PLC0415  its HTTP client, where it is used

            webhook.WebhookConfig(url).send_user_notification(message, extra)

    def default_recorder(self) -> RecorderConfig:
        """The recorder of runs that name none.

        Raises:
            RecorderError: the package that provides it is not installed.
        """
        config: RecorderConfig = find_recorder("evallib")()
        return config

    def state_dir(self) -> Path | None:
        """Where state files live, or None for `/dev/shm/nanoeval` (else the temp folder)."""
        configured = os.environ.get("NANOEVAL_STATE_DIR")
        return Path(configured) if configured else None

    def compute_default_metrics(
        self, samples_df: Any, answer_group_correctness_df: Any
    ) -> dict[str, Any]:
        """The metrics of `nanoeval.metrics.standard.compute_default_metrics`, or a team's own."""
        # Deferred: metrics are needed when a run ends, not when an eval is defined.
        from nanoeval_core.metrics.standard import (  # noqa: PLC0415
            compute_default_metrics,
        )

        return compute_default_metrics(samples_df, answer_group_correctness_df)


class _Active:
    """Owns the one library config of this process; `set_library_config` alone writes it."""

    config: LibraryConfig = LibraryConfig()


def get_library_config() -> LibraryConfig:
    return _Active.config


def set_library_config(config: LibraryConfig) -> None:
    """Use `config` for every run started from here on in this process."""
    if not isinstance(config, LibraryConfig):
        raise TypeError(
            f"set_library_config takes a LibraryConfig, got {type(config).__name__}: "
            "subclass nanoeval.library_config.LibraryConfig and pass an instance"
        )
    _Active.config = config
