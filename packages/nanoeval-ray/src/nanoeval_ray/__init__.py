"""nanoeval's executors as Ray actors. Ray itself is imported when the first of them is started.

config      what `runner.executor=ray` may be given
_engine     starts the actors, and talks with them
_cluster    this process's connection to Ray
_actor      what runs in an actor
_mailbox    how its threads' messages get out of it
"""

from nanoeval_ray.config import RayExecutors as RayExecutors

__all__ = ["RayExecutors"]
