"""The hooks a team changes once for all its evals: logging, notifications, defaults, folders.

Subclass `LibraryConfig`, override what differs, and call `set_library_config` at import time of
your own package or at the top of your script. Executor processes get the same object.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from nanoeval_core.errors import ConfigError
from nanoeval_core.recorder_protocol import RecorderConfig, RecorderProtocol, find_recorder
from nanoeval_core.recording import DummyRecorderConfig

ENV_NANOEVAL_LOG_ALL = "NANOEVAL_LOG_ALL"
"""Set to anything, it shows records of level INFO on the console."""

ENV_NANOEVAL_LOG_LEVEL = "NANOEVAL_LOG_LEVEL"
"""The level from which on everything is shown on the console; `WARNING` by default."""

_SHOWN_FIELDS = ("timestamp", "level", "event", "component", "exc_info", "stack_info")


class PrintOrWarningFilter(logging.Filter):
    """Passes warnings and worse, and of level INFO what asks for it with `_print=True`.

    `NANOEVAL_LOG_ALL` passes all of level INFO, `NANOEVAL_LOG_LEVEL` all from that level on; the
    environment is looked at for each record.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= _level_shown():
            return True
        if record.levelno < logging.INFO:
            return False
        fields = record.msg if isinstance(record.msg, dict) else record.__dict__
        return bool(fields.get("_print") or os.environ.get(ENV_NANOEVAL_LOG_ALL))


def _level_shown() -> int:
    name = os.environ.get(ENV_NANOEVAL_LOG_LEVEL, "").upper()
    return logging.getLevelNamesMapping().get(name, logging.WARNING)


class LibraryConfig:
    """Defaults that suit a single researcher. Must stay picklable."""

    def setup_logging(self) -> None:
        """Configure logging of a process that runs evals, structlog's included.

        `nanoeval_logging` calls it, in executor processes too. Console handlers of the root
        logger are replaced by one on stderr that shows what `PrintOrWarningFilter` passes; other
        handlers, such as files, stay and get every record from level INFO on. A subclass may call
        this and then `structlog.configure` with processors of its own, the last of them
        `structlog.stdlib.ProcessorFormatter.wrap_for_formatter`.
        """
        import structlog  # noqa: PLC0415  heavy, and only processes that run evals need it

        root = logging.getLogger()
        for former in root.handlers[:]:
            if type(former) is logging.StreamHandler:  # no subclass: those that write files stay
                root.removeHandler(former)
        handler = logging.StreamHandler()
        handler.addFilter(PrintOrWarningFilter())
        described: list[Any] = [
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
        ]
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=described,
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    _leave_shown_fields,
                    structlog.dev.ConsoleRenderer(colors=handler.stream.isatty()),
                ],
            )
        )
        root.addHandler(handler)
        root.setLevel(min(logging.INFO, _level_shown()))
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                *described,
                structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
        )

    async def send_user_notification(self, message: str, extra: str | None = None) -> None:
        """Tell the user of a start, an end or a failure. The runner awaits it.

        Posts to the webhook `NANOEVAL_WEBHOOK_URL`; does nothing without one.
        """
        url = os.environ.get("NANOEVAL_WEBHOOK_URL")
        if url:
            from nanoeval_core import _webhook  # noqa: PLC0415  its HTTP client, where it is used

            _webhook.send(url, message, extra)

    @contextlib.contextmanager
    def set_recorder_context(
        self, rec: RecorderProtocol, sample_id: str, group_id: str
    ) -> Iterator[None]:
        """Surround each attempt, and each block of `set_default_recorder`. Does nothing here.

        Args:
            rec: the recorder that is current inside.
            sample_id: the task's question id.
            group_id: `attempt_id.retry_idx`.
        """
        yield

    def get_default_recorder(self) -> RecorderConfig:
        """Return the recorder of runs that name none: evallib's format.

        Raises:
            RecorderError: the package that provides it is not installed.
        """
        return self.default_recorder()

    def default_recorder(self) -> RecorderConfig:
        """Return the second spelling of `get_default_recorder`."""
        config: RecorderConfig = find_recorder("evallib")()
        return config

    def get_dummy_recorder(self, log: bool) -> RecorderConfig:
        """Return the recorder of `nanoeval.recorder.dummy_recorder(log)`, which keeps nothing."""
        return DummyRecorderConfig(log=log)

    def get_slack_tqdm(self, username: str | None) -> Any | None:
        """Return a progress bar class like tqdm to show next to the terminal's, or None.

        Asked with `enable_slackbot` only. The runner makes one per run with `total=`, `desc=` and
        `dynamic_ncols=True`, enters it, and calls `update(k)`.

        Args:
            username: `RunnerArgs.slack_name`.
        """
        return None

    def writable_root_dir(self) -> str:
        """Return a folder for what outlives a process; overridden, copies of state files go there.

        It may be a URL that fsspec takes.
        """
        return str(root_dir())

    def state_dir(self) -> Path | None:
        """Return where state files live, or None for `/dev/shm/nanoeval` (else the temp folder)."""
        configured = os.environ.get("NANOEVAL_STATE_DIR")
        return Path(configured) if configured else None

    def compute_default_metrics(
        self, samples_df: Any, answer_group_correctness_df: Any
    ) -> dict[str, Any]:
        """Return what `nanoeval.metrics.standard.compute_default_metrics` returns, or a team's own.

        Args:
            samples_df: columns `instance`, `attempt`, `answer_group_id`, and any others.
            answer_group_correctness_df: columns `instance`, `answer_group_id`, `is_correct`.
        """
        # Deferred: metrics are needed when a run ends, not when an eval is defined.
        from nanoeval_core.metrics._tables import metrics_of_tables  # noqa: PLC0415

        return metrics_of_tables(samples_df, answer_group_correctness_df)


class WebhookConfig(LibraryConfig):
    """A library config whose notifications go to `url`.

    set_library_config(WebhookConfig("https://hooks.example.com/…"))
    """

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"webhook url={url!r}: it must begin with http:// or https://")
        self.url = url

    async def send_user_notification(self, message: str, extra: str | None = None) -> None:
        from nanoeval_core import _webhook  # noqa: PLC0415  its HTTP client, where it is used

        _webhook.send(self.url, message, extra)


def _leave_shown_fields(logger: Any, name: str, entry: Any) -> Any:
    """Drop what the console does not show; the run's log file has it."""
    return {field: entry[field] for field in _SHOWN_FIELDS if field in entry}


def user_folder(kind: Literal["state", "cache"], *, setting: str = "") -> Path:
    """Return the platform's folder for a user's state, or for what can be made again; ours in it.

    Raises:
        ConfigError: the user has no home folder; `setting` names what chooses another one.
    """
    import platformdirs  # noqa: PLC0415  where every folder is configured, none is asked for

    find = platformdirs.user_state_path if kind == "state" else platformdirs.user_cache_path
    try:
        folder = find("nanoeval", appauthor=False)
    except RuntimeError:  # of some versions; others leave the `~` where it is
        folder = Path("~")
    if not folder.is_absolute():
        alone = f" (or {setting} for this one alone)" if setting else ""
        raise ConfigError(
            f"user {os.getuid()} has no home folder (HOME is not set, and the system knows of "
            f"none): set HOME or XDG_{kind.upper()}_HOME{alone} to a folder that can be written"
        )
    return folder


@lru_cache(1)
def root_dir() -> Path:
    """Return the folder `nanoeval` in the temp folder."""
    return Path(tempfile.gettempdir()) / "nanoeval"


class _Active:
    """Owns the one library config of this process; `set_library_config` alone writes it."""

    config: LibraryConfig = LibraryConfig()


def get_library_config() -> LibraryConfig:
    """Return the hooks in force in this process."""
    return _Active.config


def set_library_config(hooks: LibraryConfig) -> None:
    """Use `hooks` for every run started from here on in this process."""
    if not isinstance(hooks, LibraryConfig):
        raise TypeError(
            f"set_library_config takes a LibraryConfig, got {type(hooks).__name__}: "
            "subclass nanoeval.library_config.LibraryConfig and pass an instance"
        )
    _Active.config = hooks


__all__ = [
    "ENV_NANOEVAL_LOG_ALL",
    "ENV_NANOEVAL_LOG_LEVEL",
    "LibraryConfig",
    "PrintOrWarningFilter",
    "WebhookConfig",
    "get_library_config",
    "root_dir",
    "set_library_config",
    "user_folder",
]
