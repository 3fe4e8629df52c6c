"""Without Ray's environment these tests are left out: `hatch run ray:test` has it."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("nanoeval_ray") else ["test_*.py"]
