"""The queue and the executors of nanoeval: `run`, `validate`, `resume`.

    _run, _resume        the story, top to bottom
    engine, eval_run     what runs share, and one eval in the driver
    executors            take tasks, run them, put results back
    queue                the sqlite file

Importing this package loads what every run needs (chz, pydantic, aiosqlite); multiprocess, openai
and the display are loaded on the paths that use them. `import nanoeval` loads none of it.
"""

from nanoeval_runner._resume import resume as resume
from nanoeval_runner._resume import run_eval_in_database as run_eval_in_database
from nanoeval_runner._run import run as run
from nanoeval_runner._run import validate as validate

__all__ = ["resume", "run", "run_eval_in_database", "validate"]
