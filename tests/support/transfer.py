"""Send a file to a machine and back, and print the most memory that it took, in MB."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from nanoeval.solvers.computer_tasks.code_execution_interface import ComputerConfiguration
from nanoeval.solvers.computer_tasks.containers import ContainerRuntime


async def main(image: str, source: str, target: str) -> None:
    task = ComputerConfiguration(docker_image=image)
    async with ContainerRuntime().run(task) as computer:
        await computer.upload_path(source, "/root/file")  # type: ignore[attr-defined]
        await computer.download_path("/root/file", target)  # type: ignore[attr-defined]
    assert os.path.getsize(source) == os.path.getsize(target)  # noqa: ASYNC240
    # Not ru_maxrss: it starts at the memory of the process that started this one.
    status = Path("/proc/self/status").read_text()  # noqa: ASYNC240
    print(int(status.split("VmHWM:")[1].split()[0]) // 1024)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
