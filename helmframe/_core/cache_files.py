"""Files in the user's cache folder, which later processes reuse, and what they are identified by."""

import hashlib
import tempfile
import time
from contextlib import suppress
from pathlib import Path

# The seconds after a change in which another change may leave a file's time and size as they are.
RECENT = 2.0


def digest(*parts: str) -> str:
    """Return a sha256 (hex) of the parts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def cache_folder(name: str) -> Path:
    """Return a folder in the user's cache; it may not exist yet."""
    return _root() / name


def _root() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("helmframe")


def save(path: Path, text: str) -> None:
    """Write a file for later processes, unless its folder is read-only."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            work = Path(folder, path.name)
            work.write_text(text, encoding="utf-8")
            work.replace(path)  # a rename publishes the whole file


def changed_recently(seconds: float) -> bool:
    """Return whether a file that was changed at this time may change again without a new time.

    Args:
        seconds: The time of its last change, in seconds since 1970.
    """
    return time.time() - seconds < RECENT
