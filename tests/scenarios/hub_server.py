"""A server that answers as the Hugging Face hub does, over folders of files: its tree and its resolve API."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from tests.listening import listening

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(repositories: Mapping[str, Path]) -> Iterator[str]:
    """The address of a hub that has these data sets or models: `owner/name`, or `owner/name@branch`.

    That without a branch is main. Every branch is at `COMMIT`.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if found := re.fullmatch(rf"{_API}(?:/revision/(.+))?", path):
                if _folder(repositories, found[1], found[2] or "main") is None:
                    self._missing()
                else:
                    self._json({"id": found[1], "sha": COMMIT, "siblings": [], "private": False})
            elif found := re.fullmatch(rf"{_API}/tree/({_REVISION})(?:/(.+))?", path):
                self._tree(found[1], found[2], (found[3] or "").rstrip("/"))
            elif found := re.fullmatch(rf"(?:/datasets)?/([^/]+/[^/]+)/resolve/({_REVISION})/(.+)", path):
                self._file(found[1], found[2], found[3])
            else:
                self._missing()

        do_HEAD = do_GET  # noqa: N815 - the server's name for it

        def do_POST(self) -> None:
            path = unquote(urlsplit(self.path).path)
            said = self.rfile.read(int(self.headers["Content-Length"])).decode()
            found = re.fullmatch(rf"{_API}/paths-info/(.+)", path)
            folder = _folder(repositories, found[1], found[2]) if found else None
            if folder is None:
                self._missing()
                return
            form = json.loads(said)["paths"] if said.startswith("{") else parse_qs(said)["paths"]
            names = [form] if isinstance(form, str) else form
            self._json([_entry(folder / name, folder) for name in names if (folder / name).exists()])

        def _tree(self, repository: str, revision: str, below: str) -> None:
            folder = _folder(repositories, repository, revision)
            if folder is None or not (folder / below).exists():
                self._missing()
                return
            deep = "recursive=true" in self.path.lower()
            found = sorted((folder / below).rglob("*") if deep else (folder / below).glob("*"))
            self._json([_entry(each, folder) for each in found])

        def _file(self, repository: str, revision: str, name: str) -> None:
            folder = _folder(repositories, repository, revision)
            if folder is None or not (folder / name).is_file():
                self._missing()
                return
            content = (folder / name).read_bytes()
            span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
            start, end = (int(span[1]), min(int(span[2]), len(content) - 1)) if span else (0, len(content) - 1)
            self.send_response(206 if span else 200)
            self.send_header("Content-Length", str(end + 1 - start))
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{sha256(content).hexdigest()}"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content[start : end + 1])

        def _json(self, said: object) -> None:
            body = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _missing(self) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with listening(Handler) as address:
        yield address


_API = r"/api/(?:datasets|models)/([^/]+/[^/]+)"
_REVISION = r"refs/convert/parquet|[^/]+"


def _folder(repositories: Mapping[str, Path], repository: str, revision: str) -> Path | None:
    """Where the files of a branch are; a commit is that of the only branch there is."""
    named = [each for each in repositories if each.partition("@")[0] == repository]
    if revision == COMMIT:
        return repositories[named[0]] if named else None
    return repositories.get(repository if revision == "main" else f"{repository}@{revision}")


def _entry(path: Path, folder: Path) -> dict[str, object]:
    said = {"path": path.relative_to(folder).as_posix(), "oid": "0" * 40}
    return {**said, "type": "file", "size": path.stat().st_size} if path.is_file() else {**said, "type": "directory"}
