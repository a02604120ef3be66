"""A real Chromium, the system's, that reports every request, console message and dialog."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

LOOPBACK = ("127.0.0.1", "localhost")


@dataclass
class Watched:
    """A page, and what went out of it and wrong in it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)  # dialogs: what a hostile text's script would open

    @property
    def left(self) -> list[str]:
        """The requests that went to another machine."""
        schemes = ("http", "https", "ws", "wss")
        return [each for each in self.requests if urlsplit(each).scheme in schemes and _host(each) not in LOOPBACK]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser; a missing one is a failure, never a skip.

    Of a module, no longer: while it is there, Playwright's event loop runs in this thread, and `asyncio.run` can't.
    """
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "no chromium on the PATH: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def watched(chromium: Any) -> Iterator[Watched]:
    """A new page of 1280 × 900, watched."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(15_000)
    found = Watched(page)
    page.on("request", lambda request: found.requests.append(request.url))
    page.on("websocket", lambda socket: found.requests.append(socket.url))
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    page.on("console", lambda message: found.errors.append(message.text) if message.type == "error" else None)

    def dismiss(dialog: Any) -> None:
        found.executed.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    yield found
    context.close()


def _host(url: str) -> str | None:
    return urlsplit(url).hostname
