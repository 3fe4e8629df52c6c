"""Runs cells in a Jupyter kernel, inside the machine, for what comes in on stdin.

Sent to the machine as text, so it uses nothing of nanoeval: Python's library, and jupyter_client.
"""

import json
import os
import queue
import subprocess
import sys
import time
from typing import Any

MAX_OUTPUT = 10 * 1024 * 1024


def reply(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def run(manager: Any, client: Any, code: str, timeout: float) -> dict[str, Any]:
    message = client.execute(code)
    output, final, error, status = [], None, None, None
    size, deadline = 0, time.monotonic() + timeout
    interrupted = False
    while True:
        is_dead, is_late = not manager.is_alive(), time.monotonic() > deadline
        if is_dead or (is_late and interrupted):  # it does not listen
            status = "failed_with_kernel_death" if is_dead else "cancelled"
            manager.restart_kernel(now=True)
            client.wait_for_ready(timeout=60)
            break
        if is_late:
            interrupted, deadline = True, time.monotonic() + 10
            manager.interrupt_kernel()
        try:
            got = client.get_iopub_msg(timeout=0.2)
        except queue.Empty:
            continue
        if got["parent_header"].get("msg_id") != message:
            continue
        kind, content = got["msg_type"], got["content"]
        if kind == "stream":
            text = content["text"]
        elif kind in ("execute_result", "display_data"):
            text = content["data"].get("text/plain", "")
        elif kind == "error":
            error = {name: content[name] for name in ("ename", "evalue", "traceback")}
            text = "\n".join(content["traceback"])
        elif kind == "status" and content["execution_state"] == "idle":
            break
        else:
            continue
        size += len(text)
        if kind == "execute_result":
            final, text = text, ""
        if size > MAX_OUTPUT:
            if status is None:
                status = "failed_with_response_too_large"
                manager.interrupt_kernel()
            final = None
        else:
            output.append(text)
    if status is None:
        status = "success" if error is None else "failed_with_in_kernel_exception"
        if interrupted and error is not None:
            status = "cancelled"
    return {
        "status": status,
        "output": "".join(output),
        "final_expression_output": final,
        "in_kernel_exception": error if status == "failed_with_in_kernel_exception" else None,
    }


def main() -> None:
    try:
        # Here, so that what is missing can be named.
        import ipykernel  # noqa: F401, PLC0415
        from jupyter_client.manager import KernelManager  # noqa: PLC0415
    except ImportError as error:
        reply(missing=error.name or str(error))
        return
    # Sockets in the working folder: their whole path may be longer than a socket's can be.
    manager: Any = KernelManager(
        kernel_name="python3", transport="ipc", ip=f".nanoeval-kernel-{os.getpid()}"
    )
    manager.kernel_spec.argv[0] = sys.executable
    manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    reply(ready=True)
    for line in sys.stdin:
        cell = json.loads(line)
        reply(**run(manager, client, cell["code"], cell["timeout"]))
    client.stop_channels()
    manager.shutdown_kernel(now=True)


if __name__ == "__main__":
    main()
