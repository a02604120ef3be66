"""The committed page of the viewer is what its sources build, and loads nothing from other machines."""

import re
from hashlib import sha256

from tests.demo import ROOT

SOURCE = ROOT / "tools" / "viewer"
ASSET = (ROOT / "helmframe" / "views" / "viewer.js").read_text(encoding="utf-8")


def test_the_asset_was_built_from_these_sources() -> None:
    # `make viewer-check` builds the page again and compares every byte
    digest = sha256()
    names = sorted(f"src/{file.name}" for file in (SOURCE / "src").iterdir())
    for name in ["build.mjs", "package-lock.json", "tsconfig.json", *names]:
        digest.update(f"{name}\0".encode() + (SOURCE / name).read_bytes() + b"\0")
    assert f"source: {digest.hexdigest()}\n" in ASSET, "write: make viewer"


def test_the_asset_evaluates_no_text_and_sets_no_markup() -> None:
    code = ASSET[ASSET.index("*/") :]
    for pattern in (r"\beval\(", r"new Function\b", r"insertAdjacentHTML", r"document\.write", r"\bimport\("):
        assert re.search(pattern, code) is None, pattern
    addresses = set(re.findall(r"https?://[^\s\"'`)]+", code))
    # names of XML namespaces, which no browser requests
    assert all(address.startswith("http://www.w3.org/") for address in addresses), addresses


def test_the_sources_use_no_markup_of_texts() -> None:
    for file in (SOURCE / "src").iterdir():
        text = file.read_text(encoding="utf-8")
        assert "dangerouslySetInnerHTML" not in text, file.name
        assert "innerHTML" not in text, file.name


def test_the_licenses_of_its_packages_are_in_it() -> None:
    head = ASSET[: ASSET.index("*/")]
    assert "preact" in head
    assert "@tanstack/table-core" in head
    assert head.count("Permission is hereby granted") == 2
