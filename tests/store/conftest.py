"""A store on disk and one in a bucket."""

from pathlib import Path
from uuid import uuid4

import pytest

from helmframe.store import Address
from tests.s3_server import BUCKET


@pytest.fixture(params=["disk", pytest.param("bucket", marks=pytest.mark.shared)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    """The address of an empty store, in a folder and then in a real bucket."""
    if request.param == "disk":
        return tmp_path / "store"
    request.getfixturevalue("s3")
    return f"s3://{BUCKET}/stores/{uuid4().hex}"
