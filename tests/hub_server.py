"""A local server with the API of the Hugging Face Hub: metadata, trees, files, access, renames and rate limits.

    repositories = {"cais/mmlu": folder, "ybisk/piqa@refs/convert/parquet": {"default/test/0000.parquet": data}}
    with hub_server(repositories) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)

A repository is a folder, or a mapping of paths to bytes. A key without a branch is `main`. The Parquet conversion is
the branch `refs/convert/parquet`, also served as `~parquet`.
"""

import json
import re
import threading
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from tests.listening import listening

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_test0123456789abcdefghijklmnop"
CONVERTED = "refs/convert/parquet"
# The files that the Hub stores as LFS objects: their content is at another host, behind a redirect.
LFS_SUFFIXES = (".parquet", ".arrow", ".zip", ".gz", ".tar", ".bin", ".safetensors")


class Request(NamedTuple):
    """A request that the server received, at the Hub (`host` "hub") or at the host of LFS objects ("lfs")."""

    host: str
    method: str
    path: str
    token: str
    range: str


class Fault(NamedTuple):
    """A status to send in place of a response to a request whose path and method match."""

    status: int
    retry_after: str = ""
    path: str = ""
    method: str = ""

    def fits(self, method: str, path: str) -> bool:
        """Return whether the fault is one of this request."""
        return re.search(self.path, path) is not None and self.method in ("", method)


@dataclass
class Hub:
    """A running server.

    Attributes:
        repositories: `owner/name` or `owner/name@branch` → a folder, or a mapping of paths to bytes.
        endpoint: The address, for HF_ENDPOINT.
        token: The token that has accepted the terms of all gated repositories, and reads private ones.
        strangers: Valid tokens of users who have not accepted any terms.
        gated: Repositories whose files need a token that accepted the terms; their metadata and trees are public.
        private: Repositories that don't exist for others.
        renamed: Old name → new name.
        page_size: The number of entries on a page of a tree.
        links: The address in links to further pages, if another than that of the request.
        ranges: Whether the host of LFS objects reads ranges.
        faults: Statuses for the next requests; a fault is used once.
        failing: Statuses for all requests.
        requests: The requests so far.
        objects: SHA-256 → the uploaded LFS objects.
    """

    repositories: Mapping[str, Path | Mapping[str, bytes]]
    endpoint: str = ""
    lfs_host: str = ""
    token: str = TOKEN
    strangers: Sequence[str] = ()
    gated: frozenset[str] = frozenset()
    private: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)
    page_size: int = 1000
    links: str = ""
    ranges: bool = True
    faults: list[Fault] = field(default_factory=list)
    failing: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def branches(self, repository: str) -> dict[str, Path | Mapping[str, bytes]]:
        """Return the branches of a repository and their files."""
        keys = [key for key in self.repositories if key.partition("@")[0] == repository]
        return {key.partition("@")[2] or "main": self.repositories[key] for key in keys}

    def files(self, repository: str, revision: str) -> "Files | None":
        """Return the files of a branch or a commit; None for an unknown revision."""
        branches = self.branches(repository)
        commits = {commit_of(branch): branch for branch in branches}
        branch = commits.get(revision, branch_of(revision))
        return Files(branches[branch]) if branch in branches else None

    def commit(self, repository: str, revision: str) -> str:
        """Return the commit of a revision."""
        branch = branch_of(revision)
        return commit_of(branch) if branch in self.branches(repository) else revision

    def fault(self, method: str, path: str) -> Fault | None:
        """Return the status to send in place of a response, if there is one."""
        with self.lock:
            for number, fault in enumerate(self.faults):
                if fault.fits(method, path):
                    return self.faults.pop(number)
        return next((fault for fault in self.failing if fault.fits(method, path)), None)


class Files:
    """The files of a branch."""

    def __init__(self, content: Path | Mapping[str, bytes]) -> None:
        self._content = content
        self.paths = (
            sorted(path.relative_to(content).as_posix() for path in content.rglob("*") if path.is_file())
            if isinstance(content, Path)
            else sorted(content)
        )

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        return (self._content / path).read_bytes() if isinstance(self._content, Path) else self._content[path]

    def size(self, path: str) -> int:
        """Return the size of a file."""
        return (self._content / path).stat().st_size if isinstance(self._content, Path) else len(self._content[path])

    def entries(self, folder: str, *, recursive: bool) -> list[dict[str, object]]:
        """Return the entries of a tree below a folder, as the Hub lists them."""
        prefix = f"{folder}/" if folder else ""
        names: dict[str, bool] = {}  # path → whether it is a file
        for path in self.paths:
            if not path.startswith(prefix):
                continue
            steps = path.removeprefix(prefix).split("/")
            depths = range(1, len(steps) + 1) if recursive else [1]
            names |= {prefix + "/".join(steps[:depth]): depth == len(steps) for depth in depths}
        return [self.entry(path, is_file=is_file) for path, is_file in names.items()]

    def entry(self, path: str, *, is_file: bool) -> dict[str, object]:
        """Return the metadata of a file or folder."""
        if not is_file:
            return {"type": "directory", "oid": sha1(path.encode()).hexdigest(), "size": 0, "path": path}
        entry = {"type": "file", "oid": sha1(path.encode()).hexdigest(), "size": self.size(path), "path": path}
        if path.endswith(LFS_SUFFIXES):
            digest = sha256(self.read(path)).hexdigest()
            return {**entry, "lfs": {"oid": digest, "size": entry["size"], "pointerSize": 134}}
        return entry


def branch_of(revision: str) -> str:
    """Return the branch that a revision names."""
    return CONVERTED if revision == "~parquet" else revision


def commit_of(branch: str) -> str:
    """Return the commit of a branch: `COMMIT` for main and the Parquet conversion."""
    return COMMIT if branch in ("main", CONVERTED) else sha1(branch.encode()).hexdigest()


@contextmanager
def hub_server(
    repositories: Mapping[str, Path | Mapping[str, bytes]],
    *,
    strangers: Sequence[str] = (),
    gated: Sequence[str] = (),
    private: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
    page_size: int = 1000,
    links: str = "",
    ranges: bool = True,
    faults: Sequence[Fault] = (),
    failing: Sequence[Fault] = (),
) -> Iterator[Hub]:
    """Yield a running server of these repositories; the arguments are the attributes of `Hub`."""
    hub = Hub(
        repositories,
        strangers=strangers,
        gated=frozenset(gated),
        private=frozenset(private),
        renamed=renamed or {},
        page_size=page_size,
        links=links,
        ranges=ranges,
        faults=list(faults),
        failing=list(failing),
    )
    with listening(handler(hub)) as hub.endpoint, listening(lfs_handler(hub)) as hub.lfs_host:
        yield hub


_API = r"/api/(?:datasets|models)/([^/]+/[^/]+)"
_REVISION = rf"{CONVERTED}|[^/]+"


class _Response(BaseHTTPRequestHandler):
    """The responses that the Hub and the host of LFS objects have in common."""

    protocol_version = "HTTP/1.1"

    def send_bytes(self, body: bytes, headers: Mapping[str, str], status: int = 200) -> None:
        """Send bytes, or their requested range."""
        span = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        size = len(body)
        if span is not None and status == 200:
            first, last = span[1], span[2]
            start = int(first) if first else max(0, size - int(last))
            end = min(int(last), size - 1) if first and last else size - 1
            if start > end:
                self.send_bytes(b"", {"Content-Range": f"bytes */{size}"}, 416)
                return
            status, body = 206, body[start : end + 1]
            headers = {**headers, "Content-Range": f"bytes {start}-{end}/{size}"}
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body)), "Accept-Ranges": "bytes"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no log."""


def handler(hub: Hub, base: str = "") -> type[BaseHTTPRequestHandler]:
    """Return the handler of the Hub's requests; `base` is its public address, if another than that of the request."""

    class Handler(_Response):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if self._interrupted(path):
                return
            if match := re.fullmatch(rf"{_API}(?:/revision/(.+))?", path):
                self._metadata(match[1], match[2] or "main")
            elif match := re.fullmatch(rf"{_API}/tree/({_REVISION})(?:/(.+))?", path):
                self._tree(match[1], match[2], (match[3] or "").rstrip("/"))
            elif match := re.fullmatch(rf"(?:/datasets)?/([^/]+/[^/]+)/resolve/({_REVISION})/(.+)", path):
                self._file(match[1], match[2], match[3])
            else:
                self._refuse(404, "", "Sorry, we can't find the page you are looking for.")

        do_HEAD = do_GET  # noqa: N815 - the name that the server calls

        def do_POST(self) -> None:
            path = unquote(urlsplit(self.path).path)
            text = self._body().decode()
            if self._interrupted(path):
                return
            if path == "/api/repos/create" or re.search(r"/(preupload|commit)/main$|/objects/batch$", path):
                self._write(path, text)
                return
            if path == "/api/validate-yaml":
                self._json({"warnings": [], "errors": []})
                return
            match = re.fullmatch(rf"{_API}/paths-info/(.+)", path)
            if match is None:
                self._refuse(404, "", "Sorry, we can't find the page you are looking for.")
                return
            files = self._files(match[1], match[2])
            if files is None:
                return
            form = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text)["paths"]
            entries = [
                files.entry(name, is_file=name in files.paths)
                for name in ([form] if isinstance(form, str) else form)
                if name in files.paths or any(path.startswith(f"{name}/") for path in files.paths)
            ]
            self._json(entries)

        def do_PUT(self) -> None:
            hub.objects[self.path.rpartition("/")[2]] = self._body()
            self.send_bytes(b"", {})

        def _body(self) -> bytes:
            if "Content-Length" in self.headers:
                return self.rfile.read(int(self.headers["Content-Length"]))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size + 2)[:-2])
            self.rfile.readline()
            return b"".join(parts)

        def _write(self, path: str, text: str) -> None:
            """Create a data set, or add files to it."""
            if self._token() != hub.token:
                self._refuse(401, "", "Invalid username or password.")
                return
            if path == "/api/repos/create":
                fields = json.loads(text)
                name = f"{fields['organization']}/{fields['name']}"
                created = {"url": f"{hub.endpoint}/datasets/{name}", "id": "0" * 24, "name": name}
                if hub.branches(name):
                    self.send_bytes(json.dumps({**created, "error": "You already created it"}).encode(), {}, 409)
                    return
                hub.repositories = {**hub.repositories, name: {}}
                hub.private |= {name} if fields.get("private") or fields.get("visibility") == "private" else set()
                self._json(created)
                return
            if path.endswith("/objects/batch"):
                objects = [
                    {**item, "actions": {"upload": {"href": f"{hub.endpoint}/upload/{item['oid']}"}}}
                    for item in json.loads(text)["objects"]
                ]
                self._json({"transfer": "basic", "objects": objects})
                return
            name = re.match(_API, path)[1]  # type: ignore[index]
            if "/preupload/" in path:
                modes = [
                    {
                        "path": item["path"],
                        "uploadMode": "lfs" if item["path"].endswith(LFS_SUFFIXES) else "regular",
                        "shouldIgnore": False,
                    }
                    for item in json.loads(text)["files"]
                ]
                self._json({"files": modes})
                return
            files = dict(hub.repositories[name])  # type: ignore[arg-type]
            for line in map(json.loads, text.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = hub.objects[value["oid"]]
            hub.repositories = {**hub.repositories, name: files}
            self._json({"commitUrl": f"{hub.endpoint}/datasets/{name}/commit/{COMMIT}", "commitOid": COMMIT})

        def _interrupted(self, path: str) -> bool:
            """Record a request, and send a fault, a redirect or a refused token in place of a response."""
            with hub.lock:
                hub.requests.append(Request("hub", self.command, path, self._token(), self.headers.get("Range", "")))
            fault = hub.fault(self.command, path)
            if fault is not None:
                headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
                self.send_bytes(b"{}", {"X-Error-Message": "injected", **headers}, fault.status)
                return True
            match = re.match(r"/(?:api/)?(?:(?:datasets|models)/)?([^/]+/[^/]+)", path)
            if match is not None and match[1] in hub.renamed:
                location = self.path.replace(match[1], hub.renamed[match[1]], 1)
                self.send_bytes(b"", {"Location": location}, 307)
                return True
            if self._token() not in ("", hub.token, *hub.strangers):
                self._refuse(401, "", "Invalid credentials in Authorization header")
                return True
            return False

        def _token(self) -> str:
            return self.headers.get("Authorization", "").removeprefix("Bearer ")

        def _files(self, repository: str, revision: str) -> Files | None:
            """Return the files of a revision, or send the error of a missing repository or revision."""
            if not hub.branches(repository) or (repository in hub.private and self._token() != hub.token):
                # the Hub doesn't reveal to anonymous users whether a repository exists
                if self._token():
                    self._refuse(404, "RepoNotFound", "Repository not found")
                else:
                    self._refuse(401, "RepoNotFound", "Invalid username or password.")
                return None
            files = hub.files(repository, revision)
            if files is None:
                self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return files

        def _metadata(self, repository: str, revision: str) -> None:
            files = self._files(repository, revision)
            if files is not None:
                commit = hub.commit(repository, revision)
                self._json(
                    {
                        "_id": "0" * 24,
                        "id": repository,
                        "sha": commit,
                        "private": repository in hub.private,
                        "gated": "auto" if repository in hub.gated else False,
                        "siblings": [{"rfilename": path} for path in files.paths],
                    }
                )

        def _tree(self, repository: str, revision: str, folder: str) -> None:
            files = self._files(repository, revision)
            if files is None:
                return
            query = {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}
            entries = files.entries(folder, recursive=query.get("recursive", "").lower() == "true")
            if folder and not entries:
                self._refuse(404, "EntryNotFound", f"{folder} does not exist on {revision}")
                return
            start = int(query.get("cursor", 0))
            end = start + min(int(query.get("limit", hub.page_size)), hub.page_size)
            headers = {}
            if end < len(entries):
                origin = base or hub.links or f"http://{self.headers['Host']}"
                address = f"{origin}{urlsplit(self.path).path}?{urlencode({**query, 'cursor': end})}"
                headers = {"Link": f'<{address}>; rel="next"'}
            self._json(entries[start:end], headers)

        def _file(self, repository: str, revision: str, path: str) -> None:
            files = self._files(repository, revision)
            if files is None:
                return
            if repository in hub.gated and self._token() != hub.token:
                page = f"{base or hub.endpoint}/datasets/{repository}"
                if self._token():
                    text = f"and you are not in the authorized list. Visit {page} to ask for access."
                    self._refuse(403, "GatedRepo", f"Access to dataset {repository} is restricted {text}")
                else:
                    text = "You must have access to it and be authenticated to access it. Please log in."
                    self._refuse(401, "GatedRepo", f"Access to dataset {repository} is restricted. {text}")
                return
            if path not in files.paths:
                self._refuse(404, "EntryNotFound", "Entry not found")
                return
            body = files.read(path)
            headers = {"X-Repo-Commit": hub.commit(repository, revision)}
            if not path.endswith(LFS_SUFFIXES):
                self.send_bytes(body, {**headers, "ETag": f'"{sha1(body).hexdigest()}"'})
                return
            digest = sha256(body).hexdigest()
            name = quote(f"{repository}/{revision.replace('/', '%2F')}/{path}")
            linked = {"X-Linked-Size": str(len(body)), "X-Linked-ETag": f'"{digest}"'}
            location = f"{hub.lfs_host}/{name}?X-Amz-Signature={digest[:16]}"
            self.send_bytes(b"", {**headers, **linked, "Location": location}, 302)

        def _json(self, value: object, headers: Mapping[str, str] | None = None) -> None:
            self.send_bytes(
                json.dumps(value, separators=(",", ":")).encode(),
                {"Content-Type": "application/json", **(headers or {})},
            )

        def _refuse(self, status: int, code: str, message: str) -> None:
            headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
            self.send_bytes(json.dumps({"error": message}).encode(), headers, status)

    return Handler


def lfs_handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    """Return the handler of the host of LFS objects, which reads signed addresses without a token."""

    class Handler(_Response):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            with hub.lock:
                hub.requests.append(Request("lfs", self.command, path, token, self.headers.get("Range", "")))
            if "X-Amz-Signature=" not in self.path:
                self.send_bytes(b"", {}, 403)
                return
            owner, name, revision, file = path.removeprefix("/").split("/", 3)
            files = hub.files(f"{owner}/{name}", unquote(revision))
            if files is None or file not in files.paths:
                self.send_bytes(b"", {}, 404)
                return
            body = files.read(file)
            if not hub.ranges:
                del self.headers["Range"]
            self.send_bytes(body, {"ETag": f'"{sha256(body).hexdigest()}"'})

        do_HEAD = do_GET  # noqa: N815 - the name that the server calls

    return Handler
