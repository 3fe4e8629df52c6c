"""Somebody at the monitor's page: a process that reads what the live page reads.

`page_reader.py PID` finds the monitor among the children of process PID, reads its live events
until it ends, and prints the monitor's resident bytes at each of them.
"""

import sys
import time
import urllib.request

import psutil


def find(pid: int) -> tuple[str, psutil.Process]:
    """The base URL of the monitor next to process `pid`, once it listens."""
    while True:
        for child in psutil.Process(pid).children():
            for one in (
                child.net_connections("tcp") if "nanoeval_monitor" in child.cmdline() else ()
            ):
                if one.status == psutil.CONN_LISTEN:
                    return f"http://127.0.0.1:{one.laddr.port}", child
        time.sleep(0.2)


def run_set(base: str) -> str:
    while True:
        with urllib.request.urlopen(f"{base}/api/live", timeout=30) as answer:
            found = answer.read().partition(b'"run_set_id":"')[2].partition(b'"')[0]
        if found:
            return str(found, "utf-8")
        time.sleep(0.2)


def main(pid: int) -> None:
    base, monitor = find(pid)
    url = f"{base}/api/live/{run_set(base)}/events"
    with urllib.request.urlopen(url, timeout=60) as events:
        for line in events:
            if line.startswith(b"event: view"):
                print(monitor.memory_info().rss, flush=True)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except (OSError, psutil.Error):
        sys.exit(0)  # the run is over, and its monitor with it
