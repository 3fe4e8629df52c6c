"""Imported once, by the process that the executors of a pool are forked from.

They share what it has imported: each starts in milliseconds, with little memory of its own.
"""

import gc

import anyio

import nanoeval_runner._run
import nanoeval_runner.setup  # noqa: F401  executors import the script, and it these two
from nanoeval_runner._executors import executor_process

executor_process.die_with_driver()
anyio.run(anyio.sleep, 0)  # loads what anyio needs for asyncio
gc.freeze()  # a collection in an executor would copy every page of it
