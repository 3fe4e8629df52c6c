"""Models that can be restored from their dumps: by class name, and across versions of a format."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

__all__ = ["Migration", "SerializableBaseModel", "VersionedModel", "bear_published_paths"]

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
"""Module of the published interface → ours, and the one class of it where that is not all."""

Migration = Callable[[dict[str, Any]], dict[str, Any]]

CLASS_NAME = "__class_name__"
MODULE_NAME = "__module_name__"


class SerializableBaseModel(BaseModel):
    """A model whose dump names its class, so that `deserialize` on a base class restores it."""

    @model_serializer(mode="wrap")
    def _name_the_class(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dump: dict[str, Any] = handler(self)
        dump[CLASS_NAME] = type(self).__qualname__
        dump[MODULE_NAME] = type(self).__module__
        return dump

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Self:
        """Restore an object of this class, or of a subclass, from its `model_dump()`.

        Raises:
            KeyError: `data` does not name its class.
            ValueError: the class that it names cannot be found, or is no subclass of this one.
        """
        fields = dict(data)
        name, module = fields.pop(CLASS_NAME), fields.pop(MODULE_NAME)
        named = getattr(importlib.import_module(module), name, None)
        if not (isinstance(named, type) and issubclass(named, cls)):
            raise ValueError(  # noqa: TRY004  it is the data that is wrong
                f"cannot restore {module}:{name} as {cls.__name__}: it must be that class or a "
                "subclass of it, at the top level of its module"
            )
        return named.model_validate(fields)


class VersionedModel(BaseModel):
    """A model whose older dumps are migrated when they are validated.

    The default of `schema_version` is the newest version. `_migrations` maps a version to the
    function that turns a dump of it into one of the next version; a class whose newest version
    is n needs at least the one from n - 1.
    """

    schema_version: int = 1

    _migrations: ClassVar[dict[int, Migration]] = {}

    @model_validator(mode="before")
    @classmethod
    def _migrate(cls, data: Any) -> Any:
        newest = cls.model_fields["schema_version"].default
        if newest - 1 not in cls._migrations:
            raise ValueError(
                f"{cls.__name__} has schema_version {newest} but no migration from version "
                f"{newest - 1}: add it to {cls.__name__}._migrations"
            )
        if not isinstance(data, dict):
            return data
        version = data.setdefault("schema_version", newest)
        if not isinstance(version, int):
            return data  # refused as any value of the wrong type is
        if version > newest:
            raise ValueError(
                f"this {cls.__name__} has schema_version {version}, newer than the {newest} that "
                "this version of the code reads: update it"
            )
        while version < newest:
            if version not in cls._migrations:
                raise ValueError(
                    f"no migration of {cls.__name__} from schema_version {version} to {version + 1}"
                )
            data = cls._migrations[version](data)
            version += 1
            data["schema_version"] = version
        return data


def bear_published_paths(package: str) -> None:
    """Have the classes of the published interface bear its module paths, below `package`.

    Dumps of tasks and pickles of results hold the module of a class: with these paths, what one
    of the two packages has written the other one reads. The package that has the paths calls it.
    """
    for path, home in _PUBLISHED.items():
        name, _, only = home.partition(":")
        module = importlib.import_module(f"nanoeval_computer.{name}")
        for value in vars(module).values():
            is_its_own = isinstance(value, type) and value.__module__ == module.__name__
            if is_its_own and only in ("", value.__name__):
                value.__module__ = f"{package}.{path}"
