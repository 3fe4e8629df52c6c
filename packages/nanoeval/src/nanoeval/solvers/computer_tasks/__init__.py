"""Computer tasks: interfaces, runtimes, agents.

Classes of the published interface bear the module paths of it: dumps of tasks and pickles of
results hold those paths, and are read by either package.
"""

from importlib import import_module
from typing import TYPE_CHECKING

_PUBLISHED = {
    "_serializable_base_model": "serialization:SerializableBaseModel",
    "_versioning": "serialization:VersionedModel",
    "code_execution_interface": "code_execution_interface",
    "demo._demo_task": "demo.task:DemoTask",
    "limits": "limits",
    "pausable_timer": "pausable_timer",
    "simple_solver": "simple_solver",
    "solver": "solver",
    "steps": "steps",
    "task": "task",
}

for _path, _home in _PUBLISHED.items():
    _name, _, _only = _home.partition(":")
    _module = import_module(f"nanoeval_computer.{_name}")
    for _value in vars(_module).values():
        _is_its_own = isinstance(_value, type) and _value.__module__ == _module.__name__
        if _is_its_own and _only in ("", _value.__name__):
            _value.__module__ = f"{__name__}.{_path}"

if not TYPE_CHECKING:
    from nanoeval._lazy import submodules

    __getattr__ = submodules(__name__)
