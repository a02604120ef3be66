"""The images of docs/reports.md, made anew in the system's Chromium: python -m tools.report_images."""

import re
import shutil
import threading
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import sync_playwright

from helmframe.views.transports import ViewerServer
from helmframe.views.viewer import Viewer

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Run the page's first snippet, and photograph the report and the viewer of it."""
    page = (DOCS / "reports.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0], names)  # noqa: S102 our own page
    with TemporaryDirectory() as folder, chdir(folder):
        report = names["results"].report(Path(folder) / "report.html", title="Three mock models on the sampler")
        viewer = Viewer.of(names["results"].to_parquet(Path("runs/today")))
        with ViewerServer(viewer) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            photograph({"report": report.as_uri(), "viewer": server.address})
            server.shutdown()


def photograph(addresses: dict[str, str]) -> None:
    """The start of each page, as a small image."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1080, "height": 880})
        for name, address in addresses.items():
            page.goto(address)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=DOCS / "images" / f"{name}.jpg", type="jpeg", quality=55)
        browser.close()


if __name__ == "__main__":
    main()
