"""Records of runs: writing them, and reading them back.

Layers; what each imports when it is loaded is above it, or in its line:

    folder                                 where records are
    _file_recorder                         the one writer of files, in the driver
    _description                           what the head of a record says
    evallib, json_lines                    recorders
    reading                                events, attempts, reports and tables
    in_memory, combine                     a recorder for tests, recorders made of recorders
    _inspect_messages, inspect_log, mlflow_recorder, evallib_eval     other tools

nanoeval-core declares the protocols; no other package of nanoeval is imported.
"""

from nanoeval_recorder.combine import drop_samplings, keep_one_in, tee
from nanoeval_recorder.evallib import evallib_recorder
from nanoeval_recorder.in_memory import in_memory_recorder
from nanoeval_recorder.json_lines import json_recorder
from nanoeval_recorder.reading.dataframe import to_dataframe
from nanoeval_recorder.reading.reader import read
from nanoeval_recorder.reading.run_report import report, reports
from nanoeval_recorder.reading.sample import samples
from nanoeval_recorder.reading.scores import accuracy_by, attempt_scores

__all__ = [
    "accuracy_by",
    "attempt_scores",
    "drop_samplings",
    "evallib_recorder",
    "in_memory_recorder",
    "json_recorder",
    "keep_one_in",
    "read",
    "report",
    "reports",
    "samples",
    "tee",
    "to_dataframe",
]
