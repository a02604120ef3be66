"""No broken link: neither in the repository as GitHub shows it, nor in the built site."""

import subprocess
import sys
from pathlib import Path

from tests.acceptance.figures import shown
from tests.demo import ROOT
from tests.links import crawl_repository, crawl_site


def test_1_links_of_the_repository() -> None:
    found = crawl_repository(ROOT)
    shown("1", f"broken links of {found.pages} files, of {found.links}", len(found.broken), 0)
    assert found.links > 100
    assert found.broken == []


def test_1_links_of_the_site(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "NO_MKDOCS_2_WARNING": "1"}
    build = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert build.returncode == 0, build.stderr
    found = crawl_site(tmp_path / "site")
    shown("1", f"broken links of {found.pages} pages, of {found.links}", len(found.broken), 0)
    assert found.links > 1_000
    assert found.broken == []
