"""Values that a machine needs and that nobody should read in a record."""

from __future__ import annotations

import os

from nanoeval_core import RolloutSystemError
from pydantic import BaseModel

__all__ = ["Secret"]


class Secret(BaseModel):
    """A value of a task's `environment` that is read where the machine is started.

    Tasks, records and files hold the name of the variable alone; its value is masked where it
    shows up in the output of a command.
    """

    secret: str

    def __init__(self, secret: str) -> None:
        super().__init__(secret=secret)

    def value(self) -> str:
        """Return the value of the environment variable that this names.

        Raises:
            RolloutSystemError: it is not set in this process.
        """
        if self.secret not in os.environ:
            raise RolloutSystemError(
                f"the environment variable {self.secret}, which a task's environment names as a "
                "Secret, is not set: set it where the run is started"
            )
        return os.environ[self.secret]
