"""The server as it is started, asked over real connections."""

from __future__ import annotations

import functools
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

PATIENCE = 60.0  # seconds that mean "hung": longer than a busy machine takes
get = functools.partial(httpx.get, timeout=PATIENCE)
post = functools.partial(httpx.post, timeout=PATIENCE)

WriteRecord = Callable[..., Path]


def test_the_page_and_its_parts(monitor: tuple[str, str]) -> None:
    base, _ = monitor
    page = get(f"{base}/")
    assert page.status_code == 200
    assert "<main" in page.text
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    for name in ("app.js", "app.css", "icon.svg", "samples.js"):
        assert get(f"{base}/static/{name}").status_code == 200


def test_runs_and_samples(
    start_monitor: Callable[..., tuple[str, str]], write_record: WriteRecord, records: Path
) -> None:
    write_record("RUN", n=30)
    (records / "notes.jsonl").write_text('{"no": "record"}\n', "utf-8")
    copy = records / "again"
    copy.mkdir()
    (copy / "RUN.jsonl").write_bytes((records / "RUN.jsonl").read_bytes())
    base, _ = start_monitor()
    runs = get(f"{base}/api/runs").json()["runs"]
    assert {run["key"] for run in runs} == {"RUN", "RUN~2"}
    assert {run["eval_name"] for run in runs} == {"gpqa.diamond"}
    run = get(f"{base}/api/runs/RUN").json()
    assert run["score"]["n"] == 30
    page = get(f"{base}/api/runs/RUN/samples", params={"limit": 5, "sort": "-order"}).json()
    assert [row["sample_id"] for row in page["rows"]] == [f"q{n}" for n in range(29, 24, -1)]
    assert page["total"] == 30
    found = get(f"{base}/api/runs/RUN/transcript", params={"sample": "q3"}).json()
    assert found["attempts"][0]["events"][0]["data"]["sampled"] == ["Because of the enzyme."]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/api/runs/NONE", 404, "there is no 'NONE'"),
        ("/api/runs/RUN/samples?sort=secret", 400, "sort='secret'"),
        ("/api/runs/RUN/samples?offset=-1", 400, "offset='-1'"),
        ("/api/runs/RUN/transcript?sample=none", 404, "there is no 'none'"),
        ("/api/compare?runs=RUN", 400, "1 run(s) to compare"),
        ("/api/live/none/events", 404, "there is no 'none'"),
    ],
)
def test_what_is_asked_wrongly_is_answered_clearly(
    start_monitor: Callable[..., tuple[str, str]],
    write_record: WriteRecord,
    path: str,
    status: int,
    says: str,
) -> None:
    write_record("RUN")
    base, _ = start_monitor()
    answer = get(base + path)
    assert answer.status_code == status
    assert says in answer.json()["error"]


def test_a_record_that_was_removed_is_said_to_be(
    monitor: tuple[str, str], write_record: WriteRecord
) -> None:
    path = write_record("RUN")
    base, _ = monitor
    assert get(f"{base}/api/runs/RUN").status_code == 200
    path.unlink()
    for what in ("", "/samples", "/transcript?sample=q1"):
        answer = get(f"{base}/api/runs/RUN{what}")
        assert answer.status_code == 404
        assert answer.json()["error"] == f"{path} is no longer there: it was moved or removed"
    assert get(f"{base}/api/runs").json()["runs"] == []


ODD = r"""
{"spec": {"run_id": "../../etc/<b>x", "eval_name": "o<i>dd", "completion_fns": [], "created_at": 5}}
{"run_id":"O","sample_id":"a/../b?x=1#y&<z>\"'","type":"match","data":{"correct":true,"picked":"\ud800 lone"}}
{"run_id":"O","sample_id":"a/../b?x=1#y&<z>\"'","type":"sampling","data":{"prompt":"\ud83d","sampled":"bare"}}
{"run_id":"O","sample_id":17,"type":"match","data":[1,2,3]}
{"run_id":"O","sample_id":"n\nl","type":"match","data":null}
{"run_id":"O","sample_id":"n\nl","type":"error","data":{"message":{"a":1},"type":["x"]}}
{"run_id":"O","sample_id":"w","type":"weird","data":{"deep":[[[[[[[{}]]]]]]]}}
{"run_id":"O","sample_id":"c","type":"match","data":{"correct":"yes","prob_correct":7,"g\"q":"x","n":123456789012345678901234567890}}
{"run_id":"O","sample_id":"d","type":"sampling","data":{"prompt":[{"role":"user","content":[1]}],"sampled":[null,{"a":NaN}]}}
{"final_report": {"accuracy": "high", "nested": {"x": Infinity}}, "run_id": "O"}
"""  # noqa: E501  lines as they are in a record


def test_whatever_a_record_holds_is_answered(
    start_monitor: Callable[..., tuple[str, str]], records: Path
) -> None:
    (records / "odd #1?.jsonl").write_text(ODD.lstrip(), "utf-8")
    base, _ = start_monitor()
    (run,) = get(f"{base}/api/runs").json()["runs"]
    url = f"{base}/api/runs/{run['key']}"
    assert get(url).json()["score"]["mean"] == 1.0
    rows = get(f"{url}/samples").json()["rows"]
    assert len(rows) == 6
    assert rows[0]["picked"] == "\\ud800 lone"
    for row in rows:
        answer = get(f"{url}/transcript", params={"sample": row["sample_id"]})
        assert answer.status_code == 200, row
    assert get(f"{url}/samples", params={"q": "lone"}).json()["total"] == 1


def test_bad_files_take_the_table_from_nobody(
    start_monitor: Callable[..., tuple[str, str]], write_record: WriteRecord, records: Path
) -> None:
    write_record("RUN", n=3)
    os.mkfifo(records / "pipe.jsonl")
    (records / "zero.jsonl").symlink_to("/dev/zero")
    (records / "zero.jsonl.gz").symlink_to("/dev/zero")
    (records / "gone.jsonl").symlink_to(records / "nowhere")
    (records / "loop.jsonl").symlink_to(records / "loop.jsonl")
    (records / "folder.jsonl").mkdir()
    (records / "deep.jsonl").write_text('{"spec":' * 100_000, "utf-8")
    deep = '{"spec": {"run_id": "DEEP"}}\n{"final_report": ' + "[" * 900 + "]" * 900 + "}\n"
    (records / "deep2.jsonl").write_text(deep, "utf-8")
    (records / "binary.jsonl").write_bytes(bytes(range(256)) * 50)
    odd: dict[str, Any] = {"run_id": 5, "created_at": {}, "run_config": [1], "completion_fns": 3}
    specs: list[Any] = [[], 5, None, "x", odd]
    for number, spec in enumerate(specs):
        report = {"accuracy": 10**400, "usage": [1], "system_errors": {"total": "x"}, "n": 10**40}
        lines = [{"spec": spec}, {"final_report": report, "run_id": {}}]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (records / f"odd{number}.jsonl").write_text(text, "utf-8")
    base, _ = start_monitor()
    runs = httpx.get(f"{base}/api/runs").json()["runs"]
    (good,) = [run for run in runs if run["key"] == "RUN"]
    assert (good["state"], good["n"]) == ("done", 3)
    for run in runs:  # what is in the table opens
        for what in ("", "/samples", "/samples?q=x"):
            answer = httpx.get(f"{base}/api/runs/{run['key']}{what}")
            assert answer.status_code == 200, (run, answer.text)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/%2e%2e/pyproject.toml",
        "/static//etc/passwd",
        "/api/runs/..%2f..%2f..%2fetc%2fpasswd",
        "/api/runs/%2Fetc%2Fpasswd",
        "/api/runs/../../etc/passwd",
    ],
)
def test_no_path_leads_out(monitor: tuple[str, str], path: str) -> None:
    host, _, port = monitor[0].removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port))  # sends the path as it is
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == 404
    assert b"root:" not in text
    assert b"import" not in text


def test_another_site_cannot_reach_it_by_name(monitor: tuple[str, str]) -> None:
    base, _ = monitor
    assert get(f"{base}/api/runs", headers={"host": "evil.org"}).status_code == 403


def test_changes_need_the_token(monitor: tuple[str, str]) -> None:
    base, token = monitor
    url = f"{base}/api/live/none/concurrency"
    body = {"eval_id": 1, "limit": 5}
    assert post(url, json=body).status_code == 403
    assert post(f"{url}?token={token}", json=body).status_code == 403
    wrong = post(url, json=body, headers={"x-nanoeval-token": "no"})
    assert wrong.status_code == 403
    assert "token" in wrong.text
    with_token = post(url, json=body, headers={"x-nanoeval-token": token})
    assert with_token.status_code == 404  # there is no such run set


def test_beyond_loopback_all_needs_the_token(start_monitor: Callable[..., tuple[str, str]]) -> None:
    base, token = start_monitor("host=0.0.0.0")
    base = f"http://127.0.0.1:{base.rpartition(':')[2]}"
    assert get(f"{base}/api/runs").status_code == 403
    assert get(f"{base}/").status_code == 403
    assert get(f"{base}/static/app.js").status_code == 403
    with httpx.Client(base_url=base, timeout=PATIENCE) as client:
        assert client.get("/", params={"token": token}).status_code == 200
        assert client.get("/api/runs").status_code == 200  # by the cookie it got
        assert client.get("/static/app.js").status_code == 200


def test_a_port_that_is_taken(monitor: tuple[str, str]) -> None:
    port = monitor[0].rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "nanoeval_monitor", f"port={port}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"cannot listen at 127.0.0.1:{port}" in done.stderr
    assert "port=0" in done.stderr
