"""Records of runs: writing them, and reading them back.

Layers, each importing only those above it:

    _values, _redaction, _zstd             pure encoding
    _attempt                               one attempt's events, in an executor
    _record_file, _file_recorder           the one writer, in the driver
    _run_description, folder               what was run, and where its record is
    evallib, json_lines, in_memory         recorders
    _forwarding, _tee, filters             recorders made of recorders
    _decompression, events, reader, sample, run_report, dataframe     reading

nanoeval-core declares the protocols; no other package of nanoeval is imported.
"""

from nanoeval_recorder._tee import tee as tee
from nanoeval_recorder.dataframe import to_dataframe as to_dataframe
from nanoeval_recorder.evallib import evallib_recorder as evallib_recorder
from nanoeval_recorder.filters import drop_samplings as drop_samplings
from nanoeval_recorder.filters import keep_one_in as keep_one_in
from nanoeval_recorder.in_memory import in_memory_recorder as in_memory_recorder
from nanoeval_recorder.json_lines import json_recorder as json_recorder
from nanoeval_recorder.reader import read as read
from nanoeval_recorder.run_report import report as report
from nanoeval_recorder.run_report import reports as reports
from nanoeval_recorder.sample import samples as samples

__all__ = [
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
