"""The page in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the playwright package")

CHROMIUM = os.environ.get("NANOEVAL_CHROMIUM") or shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
PATIENCE = 30_000  # milliseconds; means "never came", not "slow"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not here: apt-get install chromium"),
    pytest.mark.timeout(180),
]

WriteRecord = Callable[..., Path]
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages; a script error, or one that the security policy stopped, fails the test."""
    wrong: list[str] = []
    contexts = []

    def open_one(url: str, **settings: Any) -> Any:
        context = browser.new_context(viewport={"width": 1280, "height": 860}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda m: wrong.append(m.text) if is_wrong(m) else None)
        page.goto(url)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not wrong


def is_wrong(message: Any) -> bool:
    # A server that has ended is part of some tests.
    return message.type == "error" and "net::ERR" not in message.text


def expect(locator: Any) -> Any:
    return sync_api.expect(locator)


@pytest.fixture(autouse=True)
def patience() -> None:
    sync_api.expect.set_options(timeout=PATIENCE)


def background(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def overflow(page: Any) -> int:
    """By how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


# --- runs that are going


def test_a_live_run_and_a_change_of_its_limit(
    monitor: tuple[str, str], start_run: Start, open_page: Callable[..., Any]
) -> None:
    run = start_run(200, 100)
    base, token = monitor
    page = open_page(f"{base}/#token={token}")
    page.locator(".card").first.click()
    expect(page.locator(".eval h2")).to_have_text("watched")
    expect(page.locator(".key.done b")).to_have_text("90")  # retries wait
    expect(page.locator(".key.running b")).to_have_text("64")
    expect(page.locator(".tile", has_text="Score").locator(".tile-value")).to_have_text("72.2%")
    expect(page.locator(".tile", has_text="endpoint limit")).to_be_visible()
    expect(page.locator(".plot-svg").first).to_be_visible()
    assert token not in page.url
    errors = page.locator(".errors details")
    errors.locator("summary").click()
    expect(errors.locator("pre").first).to_contain_text("<b>slow down</b>")
    expect(page.locator(".executor code").first).to_have_text(
        f"py-spy dump --pid {run.process.pid}"
    )
    expect(page.locator(".stuck")).to_contain_text("live_eval.py")
    limit = page.get_by_label("Concurrency limit of watched")
    limit.fill("80")
    limit.press("Enter")
    expect(page.locator(".answer")).to_have_text("set")
    expect(page.locator(".key.running b")).to_have_text("80")
    assert run.release() == 0
    expect(page.locator(".live-head .pill")).to_have_text("done")
    expect(page.locator(".key.done b")).to_have_text("200")
    page.locator(".open-run").click()
    expect(page.locator(".result-count")).to_have_text("220 attempts")  # 20 had errors


def test_without_the_token_nothing_can_be_changed(
    monitor: tuple[str, str], start_run: Start, open_page: Callable[..., Any]
) -> None:
    start_run(10, 5)
    page = open_page(f"{monitor[0]}/")
    page.locator(".card").first.click()
    expect(page.get_by_label("Concurrency limit of watched")).to_be_disabled()


def test_a_page_that_was_open_before_the_run_shows_it_once_it_goes(
    state_without_evals: Path,
    monitor: tuple[str, str],
    start_run: Start,
    open_page: Callable[..., Any],
) -> None:
    page = open_page(f"{monitor[0]}/")
    expect(page.locator("table.runs")).to_be_visible()
    expect(page.locator(".card")).to_have_count(0)
    start_run(10, 5)
    page.locator(".card").first.click()
    expect(page.locator(".eval h2")).to_have_text("watched")
    assert state_without_evals.exists()


def test_a_link_to_a_run_that_is_not_there_yet_opens_once_it_is(
    monitor: tuple[str, str], start_run: Start, open_page: Callable[..., Any]
) -> None:
    page = open_page(f"{monitor[0]}/#/live/soon")
    expect(page.locator(".problem")).to_contain_text("no run set soon")
    start_run(10, 5, "run_set_id=soon")
    expect(page.locator(".eval h2")).to_have_text("watched")


def test_a_page_says_when_the_monitor_has_ended(
    start_run: Start, open_page: Callable[..., Any]
) -> None:
    run = start_run(10, 5, "use_monitor")
    page = open_page(run.read_url())
    page.locator(".card").first.click()
    expect(page.locator(".eval h2")).to_have_text("watched")
    assert run.release() == 0
    expect(page.locator(".lost")).to_be_visible()
    expect(page.locator(".eval h2")).to_have_text("watched")


# --- runs that are done


def test_the_table_of_runs_is_sorted_and_filtered(
    write_record: WriteRecord, monitor: tuple[str, str], open_page: Callable[..., Any]
) -> None:
    for name, accuracy in (("A", 0.2), ("B", 0.9), ("C", 0.5)):
        write_record(name, model=f"model-{name}", accuracy=accuracy)
    page = open_page(f"{monitor[0]}/")
    rows = page.locator("table.runs tbody tr")
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Score").click()
    expect(rows.first).to_contain_text("model-A")
    page.get_by_role("button", name="Score").click()
    expect(rows.first).to_contain_text("model-B")
    assert page.locator("th[data-column=score]").get_attribute("aria-sort") == "descending"
    page.get_by_label("Filter runs").fill("model-c")
    expect(rows).to_have_count(1)
    again = open_page(page.url)  # the view has a URL
    expect(again.locator("table.runs tbody tr")).to_have_count(1)
    again.get_by_role("link", name="gpqa.diamond").click()
    expect(again.locator(".run-head")).to_contain_text("model-C")


def test_samples_are_filtered_searched_and_opened(
    write_record: WriteRecord, monitor: tuple[str, str], open_page: Callable[..., Any]
) -> None:
    path = write_record("RUN", n=300, attempts=2)
    wrong = sum('"correct": false' in line for line in path.read_text("utf-8").splitlines())
    page = open_page(f"{monitor[0]}/#/run/RUN")
    expect(page.locator(".result")).to_contain_text("600 attempts")
    page.get_by_text("Calibration and length").click()
    expect(page.get_by_text("Calibration", exact=True)).to_be_visible()
    page.locator(".dot-row", has_text="biology").get_by_role("link").click()
    expect(page.locator(".result-count")).to_have_text("300 attempts")
    page.get_by_label("Field").select_option("")
    page.get_by_role("button", name="wrong").click()
    expect(page.locator(".result-count")).to_have_text(f"{wrong} attempts")
    page.get_by_role("button", name="all").click()
    page.get_by_label("Search all texts").fill("number 123")
    expect(page.locator(".result-count")).to_have_text("2 attempts")
    page.locator(".row").first.click()
    expect(page.locator(".detail h2")).to_have_text("q123")
    expect(page.locator(".attempt")).to_have_count(2)
    expect(page.locator(".bubble").first).to_contain_text("Question number 123?")
    choices = page.locator(".attempt").first.locator(".choices li")
    expect(choices.nth(0)).to_contain_text("the right one")
    expect(choices.nth(0)).to_contain_text("expected")
    expect(choices.locator("text=picked")).to_have_count(1)
    assert "q=number+123" in page.url
    again = open_page(page.url)
    expect(again.locator(".detail h2")).to_have_text("q123")


def test_any_field_filters_and_a_filter_without_hits_says_so(
    write_record: WriteRecord, monitor: tuple[str, str], open_page: Callable[..., Any]
) -> None:
    write_record("RUN", n=40)
    page = open_page(f"{monitor[0]}/#/run/RUN/samples")
    page.get_by_label("Field").select_option("subject")
    page.get_by_label("Value").select_option("physics")
    expect(page.locator(".result-count")).to_have_text("20 attempts")
    page.get_by_label("Search all texts").fill("zebra")
    expect(page.locator(".empty")).to_contain_text(
        "No attempt matches subject = physics and “zebra”"
    )
    page.get_by_role("button", name="Show all attempts").click()
    expect(page.locator(".result-count")).to_have_text("40 attempts")


def test_a_run_that_died_says_so_and_how_to_go_on(
    monitor: tuple[str, str], start_run: Start, open_page: Callable[..., Any]
) -> None:
    run = start_run(20, 4, "run_set_id=killed")
    page = open_page(f"{monitor[0]}/#/live/killed")
    expect(page.locator(".key.done b")).to_have_text("16")
    expect(page.locator(".executor code").first).to_contain_text("py-spy")
    run.process.kill()
    run.process.wait(20)
    expect(page.locator(".live-head .pill")).to_have_text("died")
    expect(page.locator(".resume code")).to_contain_text("resume killed")
    expect(page.locator(".executor")).to_have_count(0)
    page.goto(f"{monitor[0]}/#/")
    expect(page.locator("table.runs .pill")).to_have_text("died")


def test_a_long_list_scrolls_with_few_rows_in_the_page(
    write_record: WriteRecord, monitor: tuple[str, str], open_page: Callable[..., Any]
) -> None:
    write_record("RUN", n=5000)
    page = open_page(f"{monitor[0]}/#/run/RUN/samples")
    expect(page.locator(".result-count")).to_have_text("5,000 attempts")
    page.locator(".list").evaluate("list => list.scrollTop = list.scrollHeight")
    expect(page.locator(".row").last).to_contain_text("q4999")
    assert page.locator(".row").count() < 60
    page.locator(".list").evaluate("list => list.scrollTop = 2000 * 54")
    expect(page.locator(".row", has_text="q2005")).to_be_visible()


def test_two_runs_are_compared(
    write_record: WriteRecord, monitor: tuple[str, str], open_page: Callable[..., Any]
) -> None:
    write_record("A", n=200, accuracy=0.3, model="small")
    write_record("B", n=200, accuracy=0.8, model="large")
    page = open_page(f"{monitor[0]}/#/?sort=score")
    boxes = page.get_by_role("checkbox")
    expect(boxes).to_have_count(2)
    for box in boxes.all():
        box.check()
    page.get_by_role("button", name="Compare 2").click()
    expect(page.locator(".difference .says")).to_contain_text("better")
    improved = page.locator(".flips", has_text="Improved").locator("li")
    assert improved.count() > 50
    name = improved.first.locator("a").first.inner_text()
    improved.first.locator("a").first.click()
    expect(page.locator(".detail h2")).to_have_text(name)


def test_what_a_model_wrote_stays_text(
    write_record: WriteRecord, monitor: tuple[str, str], open_page: Callable[..., Any]
) -> None:
    attack = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
    reply = f"{attack}\x1b[31mred\x1b[0m \u202eevil \u2066x {'long ' * 200_000}"
    write_record("RUN", n=2, reply=reply, model=attack)
    page = open_page(f"{monitor[0]}/")
    expect(page.locator("table.runs tbody")).to_contain_text("<script>")
    page.goto(f"{monitor[0]}/#/run/RUN/samples?sample=q0")
    shown = page.locator(".bubble.reply pre")
    expect(shown).to_contain_text(attack)
    assert page.evaluate("window.hacked") is None
    assert page.locator("main script, main img").count() == 0
    marks = page.locator(".bubble.reply .hidden-mark").all_inner_texts()
    assert marks == ["␛", "␛", "U+202E", "U+2066"]
    assert "\x1b" not in shown.inner_text()
    assert page.locator(".bubble.reply pre").evaluate("e => getComputedStyle(e).unicodeBidi") in (
        "isolate",
        "plaintext",
    )
    page.get_by_role("button", name=re.compile("Show all 1.0 MB")).click()
    expect(page.locator(".more")).to_have_count(0)
    assert len(shown.inner_text()) > 1_000_000


def test_long_answers_leave_room_for_the_names_next_to_them(
    write_record: WriteRecord, monitor: tuple[str, str], open_page: Callable[..., Any]
) -> None:
    path = write_record(n=3)
    match = {"correct": False, "expected": "e" * 900, "picked": "p" * 900}
    event = {"run_id": "RUN", "sample_id": "named", "type": "match", "data": match}
    path.write_text(
        path.read_text().replace('{"final_report"', json.dumps(event) + '\n{"final_report"')
    )
    base, _ = monitor
    for width in (375, 1280):
        page = open_page(f"{base}/#/run/RUN/samples?sample=q1")
        page.set_viewport_size({"width": width, "height": 800})
        page.get_by_role("button", name="Close").click()
        link = page.get_by_role("link", name="named", exact=True)
        expect(link).to_be_visible()
        assert link.locator("xpath=..").bounding_box()["width"] >= 70


def test_links_that_were_cut_and_records_without_attempts(
    write_record: WriteRecord, monitor: tuple[str, str], open_page: Callable[..., Any]
) -> None:
    write_record(n=0)
    base, _ = monitor
    page = open_page(f"{base}/#/%E0%A4%A/zz")
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    page.goto(f"{base}/#/run/RUN")
    expect(page.get_by_text("No attempt is in the record.")).to_be_visible()


def test_the_summary_has_the_report_and_leads_to_the_errors(
    write_record: WriteRecord, monitor: tuple[str, str], open_page: Callable[..., Any]
) -> None:
    path = write_record(n=3)
    data = {"type": "TooSlowError", "message": "no answer"}
    event = {"run_id": "RUN", "sample_id": "late", "type": "error", "data": data}
    lines = path.read_text().splitlines()[:-1]
    report = {"final_report": {"pass@5": 0.8125, "by": {"topic": {"algebra": 12}}}, "run_id": "RUN"}
    path.write_text("\n".join([*lines, json.dumps(event), json.dumps(report), ""]))
    base, _ = monitor
    page = open_page(f"{base}/#/run/RUN")
    reported = page.locator(".reported")
    expect(reported).to_contain_text("pass@5")
    expect(reported).to_contain_text("0.8125")
    expect(reported).to_contain_text("algebra")
    page.get_by_role("link", name="TooSlowError").click()
    expect(page.get_by_text("1 attempt", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="late")).to_be_visible()


def test_the_keyboard_is_enough(
    write_record: WriteRecord, monitor: tuple[str, str], open_page: Callable[..., Any]
) -> None:
    write_record("A", n=30)
    write_record("B", n=30)
    page = open_page(f"{monitor[0]}/")
    expect(page.locator("table.runs tbody tr")).to_have_count(2)
    for key in ("j", "x", "j", "x", "c"):
        page.keyboard.press(key)
    expect(page.locator("h1")).to_have_text("Compare")
    page.keyboard.press("g")
    expect(page.locator("table.runs tbody tr")).to_have_count(2)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator(".tabs a[aria-current]")).to_have_text("Summary")
    page.locator(".tabs a", has_text="Samples").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".result-count")).to_have_text("30 attempts")
    page.keyboard.press("/")
    page.keyboard.type("number 1")
    expect(page.locator(".result-count")).to_have_text("11 attempts")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator(".detail h2")).to_have_text("q1")
    page.keyboard.press("n")
    expect(page.locator(".detail h2")).to_have_text("q10")
    page.keyboard.press("p")
    expect(page.locator(".detail h2")).to_have_text("q1")
    page.keyboard.press("Escape")
    expect(page.locator(".detail")).to_be_hidden()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_dark_and_light(
    write_record: WriteRecord, monitor: tuple[str, str], open_page: Callable[..., Any]
) -> None:
    write_record("RUN")
    dark = open_page(f"{monitor[0]}/", color_scheme="dark")
    light = open_page(f"{monitor[0]}/", color_scheme="light")
    for page in (dark, light):
        expect(page.locator("table.runs tbody tr")).to_have_count(1)
    assert background(dark) == "rgb(18, 19, 22)"
    assert background(light) == "rgb(246, 246, 244)"
    light.locator("#theme").click()
    light.locator("#theme").click()
    assert background(light) == "rgb(18, 19, 22)"
    light.reload()
    assert background(light) == "rgb(18, 19, 22)"


@pytest.mark.parametrize("view", ["/", "/run/RUN", "/run/RUN/samples", "/compare?runs=RUN,TWO"])
def test_a_narrow_screen(
    write_record: WriteRecord, monitor: tuple[str, str], open_page: Callable[..., Any], view: str
) -> None:
    for name in ("RUN", "TWO"):
        write_record(name, reply="wide" * 500)
    page = open_page(f"{monitor[0]}/#{view}")
    page.set_viewport_size({"width": 360, "height": 740})
    expect(page.locator("main .panel:visible").first).to_be_visible()
    assert overflow(page) <= 0
    if view.endswith("samples"):
        page.locator(".row").first.click()
        expect(page.locator(".list-box")).to_be_hidden()
        expect(page.locator(".detail h2")).to_be_visible()
        assert overflow(page) <= 0
        page.get_by_role("button", name="Close").click()
        expect(page.locator(".list-box")).to_be_visible()


def test_a_record_of_the_published_package(
    records: Path, monitor: tuple[str, str], open_page: Callable[..., Any]
) -> None:
    spec = {"completion_fns": ["dummy"], "eval_name": "2d_movement.dev.v0", "run_id": "P1"}
    spec |= {"base_eval": "2d_movement", "split": "dev", "created_at": "2026-10-01 10:00:00.0"}
    lines: list[dict[str, Any]] = [{"spec": {**spec, "run_config": {}, "created_by": ""}}]
    for n in range(5):
        common = {"run_id": "P1", "sample_id": f"2d_movement.dev.{n}", "created_by": ""}
        common["created_at"] = "2026-10-01 10:00:00.5+00:00"
        sampling = {"prompt": [{"role": "system", "content": "Move."}], "sampled": ["(0, 1)"]}
        match = {"correct": n == 0, "expected": "(1, 1)", "picked": None, "sampled": "(0, 1)"}
        for number, (kind, data) in enumerate((("sampling", sampling), ("match", match))):
            lines.append({**common, "event_id": 2 * n + number, "type": kind, "data": data})
    lines.append({"final_report": {"accuracy": 0.2, "boostrap_std": 0.17}})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (records / "2610011000_dummy.jsonl").write_text(text, "utf-8")
    page = open_page(f"{monitor[0]}/")
    expect(page.locator("table.runs tbody")).to_contain_text("20.0%")
    page.get_by_role("link", name="2d_movement.dev.v0").click()
    expect(page.locator(".result")).to_contain_text("20.0%")
    page.goto(f"{monitor[0]}/#/run/P1/samples?sample=2d_movement.dev.3")
    expect(page.locator(".bubble.reply")).to_contain_text("(0, 1)")
