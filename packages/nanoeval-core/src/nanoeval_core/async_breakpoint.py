"""`await abreakpoint()`: a prompt inside a coroutine, while the event loop goes on."""

from __future__ import annotations

import inspect


async def abreakpoint() -> None:
    """Open an interactive prompt on the caller's variables; `await` works in it.

    Other tasks go on running. Ctrl-D leaves it.

    Raises:
        ImportError: ptpython is not installed.
    """
    try:
        from ptpython.repl import embed  # noqa: PLC0415  for debugging only
    except ModuleNotFoundError as error:
        if error.name != "ptpython":
            raise
        raise ImportError("abreakpoint() needs ptpython: `pip install ptpython`") from error
    frame = inspect.currentframe()
    caller = frame and frame.f_back
    assert caller is not None  # noqa: S101  a coroutine that runs was awaited from somewhere
    await embed(globals=caller.f_globals, locals=caller.f_locals, return_asyncio_coroutine=True)


__all__ = ["abreakpoint"]
