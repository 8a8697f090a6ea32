"""The page at / in a real browser: Debian's Chromium, controlled through its debugging pipe."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.server.conftest import Daemon, task

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-pipe --window-size=1100,1000"
).split()


class Browser:
    """A page in Chromium (Chrome DevTools Protocol over descriptors 3 and 4: messages end with a zero byte)."""

    def __init__(self, folder: Path) -> None:
        path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if path is None:
            assert not os.environ.get("CI"), "CI must have Chromium: apt-get install chromium"
            pytest.skip("the page is looked at in Chromium: apt-get install chromium")
        command_read, self._to = os.pipe()
        self._from, answer_write = os.pipe()

        def arrange() -> None:
            high = [os.dup(command_read), os.dup(answer_write)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen(
            [path, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=arrange,
            close_fds=False,
            env={"HOME": str(folder), "PATH": os.environ["PATH"]},
        )
        os.close(command_read)
        os.close(answer_write)
        self._number, self._rest = 0, b""
        self.seen: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        self._number += 1
        message = {
            "id": self._number,
            "method": method,
            "params": parameters,
            **({"sessionId": session} if session else {}),
        }
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                data = os.read(self._from, 1 << 16)
                assert data, "Chromium ended"
                self._rest += data
            text, self._rest = self._rest.split(b"\0", 1)
            answer = json.loads(text)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.seen.append(answer)

    def call(self, method: str, **parameters: Any) -> Any:
        return self._call(method, self._session, **parameters)

    def evaluate(self, expression: str) -> Any:
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str, within_seconds: float = 30) -> Any:
        deadline = time.monotonic() + within_seconds
        while not (found := self.evaluate(expression)):
            assert time.monotonic() < deadline, f"{expression}: {self.evaluate('document.body.innerText')}"
            time.sleep(0.1)
        return found

    def open(self, url: str) -> None:
        self.seen.clear()
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && document.getElementById('server') !== null")

    def fill(self, name: str, text: str) -> None:
        self.evaluate(f"document.getElementById({name!r}).value = {json.dumps(text)}")

    def judge(self) -> None:
        self.evaluate("document.getElementById('verdict').hidden = true; document.getElementById('judge').click()")
        self.until("!document.getElementById('verdict').hidden")

    def text(self, name: str) -> str:
        return str(self.evaluate(f"document.getElementById({name!r}).innerText"))

    def screenshot(self) -> bytes:
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def problems(self) -> list[Any]:
        """What the page logged as errors, and requests to anywhere else than the daemon."""
        self.evaluate("1")
        found: list[Any] = []
        for event in self.seen:
            parameters = event.get("params", {})
            if event["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                found.append(parameters["entry"]["text"])
            if event["method"] == "Runtime.exceptionThrown":
                found.append(parameters)
            if event["method"] == "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                if not url.startswith(("http://127.0.0.1:", "data:")):
                    found.append(url)
        return found

    def close(self) -> None:
        for descriptor in (self._to, self._from):
            os.close(descriptor)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    made = Browser(tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()


def test_a_pasted_task_shows_its_verdict_with_phase_limits_and_usage(
    daemon: Daemon, browser: Browser, tmp_path: Path
) -> None:
    browser.open(daemon.url + "/")
    browser.until("document.getElementById('server').innerText.includes('2 workers')")
    browser.judge()
    assert browser.text("status") == "accepted"
    facts = browser.text("facts")
    for words in ("phase sat", "CPU", "elapsed", "MiB", "SHA-256", "cpu 1.00 s", "memory 512.0 MiB", "CPython"):
        assert words in facts, facts
    assert json.loads(str(browser.evaluate("document.getElementById('json').textContent")))["status"] == "accepted"
    assert not browser.problems()
    picture = browser.screenshot()
    assert picture.startswith(b"\x89PNG")
    folder = Path(os.environ.get("SELFTAUGHT_SCREENSHOTS", tmp_path))
    (folder / "page.png").write_bytes(picture)
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than its window"


def test_a_limit_hit_and_a_refusal_are_explained(daemon: Daemon, browser: Browser) -> None:
    browser.open(daemon.url + "/")
    browser.fill("sol", "def sol(n=36):\n    while True: pass")
    browser.fill("cpu", "0.1")
    browser.judge()
    assert browser.text("status") == "time_limit"
    assert "cpu_seconds: 100.00 ms allowed" in browser.text("facts")
    assert "phase sol" in browser.text("facts")
    assert "cpu 100.00 ms, wall 2.00 s" in browser.text("facts")
    browser.fill("cpu", "99")
    browser.judge()
    assert browser.text("status") == "HTTP 422"
    assert "above the server's 1" in browser.text("message")


def test_nothing_that_a_task_prints_becomes_markup(daemon: Daemon, browser: Browser) -> None:
    browser.open(daemon.url + "/")
    evil = "<img src=x onerror='document.title=666'><script>document.title=666</script>"
    browser.fill("sat", f"def sat(x):\n    raise ValueError({evil!r})")
    browser.fill("sol", "1")
    browser.judge()
    assert evil in browser.text("message")
    assert browser.evaluate("document.title") == "selftaught"
    assert browser.evaluate("document.querySelectorAll('img').length") == 0
    assert not browser.problems()


def test_the_live_part_counts_what_others_have_judged(daemon: Daemon, browser: Browser) -> None:
    browser.open(daemon.url + "/")
    browser.until(
        "document.querySelectorAll('#counts tr').length > 0 || document.getElementById('capacity').innerText !== '…'"
    )
    daemon.ask("POST", "/v1/verify/batch", [task(number, sol="os") for number in range(30)])
    browser.until("document.getElementById('counts').innerText.includes('solution_error')")
    browser.until("document.getElementById('line').getAttribute('points').split(' ').length > 1")
    assert not browser.problems()


def test_the_page_asks_for_the_token_where_one_is_needed(start: Any, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-of-some-length")
    guarded = start("--token-file", str(tmp_path / "token"), "--workers", "1")
    browser.open(guarded.url + "/")
    browser.until("!document.getElementById('token-field').hidden")
    browser.judge()
    assert browser.text("status") == "HTTP 401"
    browser.evaluate(
        "document.getElementById('token').value = 'a-token-of-some-length';"
        "document.getElementById('token').dispatchEvent(new Event('change'))"
    )
    browser.until("document.getElementById('server').innerText.includes('1 worker')")
    browser.judge()
    assert browser.text("status") == "accepted"


def test_the_page_needs_no_other_server_and_allows_no_other_script(daemon: Daemon) -> None:
    _, page, headers = daemon.ask("GET", "/")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for name in ("/", "/page.js", "/page.css"):
        assert b"http://" not in daemon.ask("GET", name)[1]
        assert b"https://" not in daemon.ask("GET", name)[1]
    assert b"<script>" not in page
