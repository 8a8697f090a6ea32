"""A Hub of the test's own: what huggingface_hub asks for when it uploads, over HTTP, stored in a dict.

It speaks the calls of huggingface_hub's `hf_api.py`, `_commit_api.py` and `lfs.py`: a repository's info, creation,
branches, the check of a card's metadata, preupload, LFS batch, upload and verification, and commits.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

TOKEN, READER = "hf_writer", "hf_reader"
"""A token that may write, and one that may not."""


@dataclass
class Repository:
    """A repository: the files of each branch, and whether it is private."""

    private: bool = False
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    commits: int = 0

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(self.commits).encode()).hexdigest()


@dataclass
class Hub:
    """What the server has.

    Attributes:
        repositories: By type and name.
        objects: Large files by their SHA-256.
        asked: Method and path of every request.
        uploads: Large files that were sent, by their SHA-256.
        broken: Large files after which uploads are refused, as if the line broke.
    """

    url: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    broken: int | None = None

    def files(self, kind: str, name: str, branch: str = "main") -> dict[str, bytes]:
        return self.repositories[kind, name].branches[branch]

    def write(self, kind: str, name: str, folder: Path) -> Path:
        """Write a repository's files into a folder, as a download would."""
        for path, content in self.files(kind, name).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return folder


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.body = self._read()
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"{self.command} {path}")
        try:
            status, content, headers = 200, self._route(path), {}
        except _Refused as refused:
            status, content = refused.status, {"error": refused.message}
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _route(self, path: str) -> Any:
        if self.command == "PUT":
            return self._store(path)  # a signed address: without a token
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in (TOKEN, READER):
            raise _Refused(401, message="Invalid credentials in Authorization header")
        if path == "/api/validate-yaml":
            return self._check_card()
        if path == "/lfs/verify":
            return {}
        if found := re.fullmatch(r"/api/(model|dataset)s/(\w[\w.-]*/[\w.-]+)(?:/(?:revision/)?(.*))?", path):
            kind, name, rest = found.groups()
            if self.command == "GET":
                return self._info(kind, name, rest or "main")
        if token == READER:
            raise _Refused(403, message="you do not have the right to write")
        if path == "/api/repos/create":
            return self._create()
        if batch := re.fullmatch(r"/(datasets/)?([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", path):
            return self._batch(batch[2])
        assert found, path
        what, _, branch = (rest or "").partition("/")
        return {"preupload": self._preupload, "commit": self._commit, "branch": self._branch}[what](kind, name, branch)

    def _repository(self, kind: str, name: str) -> Repository:
        try:
            return self.hub.repositories[kind, name]
        except KeyError:
            raise _Refused(404, "RepoNotFound", "Repository not found") from None

    def _files(self, kind: str, name: str, branch: str) -> dict[str, bytes]:
        try:
            return self._repository(kind, name).branches[branch]
        except KeyError:
            raise _Refused(404, "RevisionNotFound", f"no branch {branch}") from None

    def _info(self, kind: str, name: str, branch: str) -> dict[str, Any]:
        files, repository = self._files(kind, name, branch), self._repository(kind, name)
        listed = [{"rfilename": path} for path in files]
        return {"id": name, "sha": repository.sha, "private": repository.private, "siblings": listed, "tags": []}

    def _create(self) -> dict[str, Any]:
        asked = json.loads(self.body)
        key = asked.get("type", "model"), f"{asked['organization']}/{asked['name']}"
        if key in self.hub.repositories:
            raise _Refused(409, message="it exists")
        self.hub.repositories[key] = Repository(asked.get("visibility") == "private")
        return {"url": f"{self.hub.url}/{'datasets/' if key[0] == 'dataset' else ''}{key[1]}"}

    def _check_card(self) -> dict[str, Any]:
        text = json.loads(self.body)["content"]
        metadata = yaml.safe_load(text.split("---\n")[1])
        if metadata.get("license", "mit") not in ("mit", "apache-2.0", "cc-by-4.0"):
            raise _Refused(400, message=f"license {metadata['license']} is not valid")
        return {"errors": [], "warnings": []}

    def _preupload(self, kind: str, name: str, branch: str) -> dict[str, Any]:
        there = self._files(kind, name, branch)

        def described(file: dict[str, Any]) -> dict[str, Any]:
            large = file["path"].endswith((".safetensors", ".jsonl"))
            content = there.get(file["path"])
            oid = None
            if content is not None:
                git = hashlib.sha1(b"blob %d\0" % len(content) + content)
                oid = hashlib.sha256(content).hexdigest() if large else git.hexdigest()
            return {
                "path": file["path"],
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": False,
                "oid": oid,
            }

        return {"files": [described(file) for file in json.loads(self.body)["files"]]}

    def _batch(self, name: str) -> dict[str, Any]:
        assert any(known == name for _, known in self.hub.repositories)
        objects = []
        for one in json.loads(self.body)["objects"]:
            upload = {
                "upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"},
                "verify": {"href": f"{self.hub.url}/lfs/verify"},
            }
            objects.append(one if one["oid"] in self.hub.objects else {**one, "actions": upload})
        return {"transfer": "basic", "objects": objects}

    def _store(self, path: str) -> dict[str, Any]:
        oid = path.rpartition("/")[2]
        if self.hub.broken is not None and len(self.hub.uploads) >= self.hub.broken:
            raise _Refused(404, message="the line broke")
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.objects[oid] = self.body
        self.hub.uploads.append(oid)
        return {}

    def _branch(self, kind: str, name: str, branch: str) -> dict[str, Any]:
        branches = self._repository(kind, name).branches
        if branch in branches:
            raise _Refused(409, message="it exists")
        branches[branch] = dict(branches["main"])
        return {}

    def _commit(self, kind: str, name: str, branch: str) -> dict[str, Any]:
        files, repository = self._files(kind, name, branch), self._repository(kind, name)
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
        repository.commits += 1
        return {"commitUrl": f"{self.hub.url}/{name}/commit/{repository.sha}", "commitOid": repository.sha}


@contextmanager
def running() -> Iterator[Hub]:
    """A Hub on loopback."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
