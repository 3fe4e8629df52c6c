"""`ContainerRuntime`: machines that are containers of Docker or Podman."""

from nanoeval_computer.containers import *
