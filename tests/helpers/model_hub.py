"""A model hub on the loopback interface: as much of the Hugging Face hub's interface as is used."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Hub:
    """Repositories, each a list of commits: (digest, files by path)."""

    def __init__(self) -> None:
        self.repositories: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.is_private: dict[str, bool] = {}  # by repository
        self.messages: list[str] = []  # of the commits that were pushed
        self.requests: list[str] = []
        self.token = ""  # that pushes need, if it is not empty

    def commit(self, name: str, files: dict[str, bytes]) -> str:
        commits = self.repositories.setdefault(name, [])
        whole = {**(commits[-1][1] if commits else {}), **files}
        oid = hashlib.sha1(f"{len(commits)}{sorted(whole)}".encode()).hexdigest()
        commits.append((oid, whole))
        return oid

    def find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        commits = self.repositories[name]
        if revision == "main":
            return commits[-1] if commits else ("0" * 40, {})
        return next((c for c in commits if c[0] == revision), None)


@contextmanager
def serve() -> Iterator[tuple[Hub, str]]:
    """Yields a hub and its address."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, value: Any = None, status: int = 200, **headers: str) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        if not isinstance(value, bytes):
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def missing(self, code: str) -> None:
        self.answer({"error": code}, 404, X_Error_Code=code)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            name, revision = found[1], found[2] or "main"
            if name not in self.hub.repositories:
                return self.missing("RepoNotFound")
            if not (commit := self.hub.find(name, revision)):
                return self.missing("RevisionNotFound")
            files = [{"rfilename": n, "size": len(c)} for n, c in commit[1].items()]
            values = {"id": name, "sha": commit[0], "siblings": files, "tags": []}
            return self.answer({**values, "private": self.hub.is_private.get(name, False)})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            commit = self.hub.find(found[1], found[2])
            files = [
                {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                for n, c in (commit[1] if commit else {}).items()
            ]
            return self.answer(files)
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            commit = self.hub.find(found[1], found[2])
            if not commit or found[3] not in commit[1]:
                return self.missing("EntryNotFound")
            content = commit[1][found[3]]
            etag = hashlib.sha1(content).hexdigest()
            return self.answer(content, ETag=f'"{etag}"', X_Repo_Commit=commit[0])
        return self.missing("EntryNotFound")

    def do_POST(self) -> None:
        path = self.path.split("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append(f"POST {path}")
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self.answer({"error": "Invalid credentials"}, 401)
        if path == "/api/repos/create":
            values = json.loads(body)
            name = "/".join(filter(None, (values.get("organization"), values["name"])))
            is_new = name not in self.hub.repositories
            self.hub.repositories.setdefault(name, [])
            if is_new:  # older clients have "private", newer ones "visibility"
                is_private = values.get("private") or values.get("visibility") == "private"
                self.hub.is_private[name] = bool(is_private)
            return self.answer({"url": f"/{name}", "id": name}, 200 if is_new else 409)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path):
            if found[2] == "preupload":
                files = json.loads(body)["files"]
                kind = {"uploadMode": "regular", "shouldIgnore": False}
                modes = [{"path": f["path"], **kind} for f in files]
                return self.answer({"files": modes})
            lines = [json.loads(line) for line in body.splitlines()]
            added = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            (header,) = [line["value"] for line in lines if line["key"] == "header"]
            self.hub.messages.append(header["summary"])
            oid = self.hub.commit(found[1], added)
            return self.answer({"commitUrl": f"/{found[1]}/commit/{oid}", "commitOid": oid})
        return self.answer({})  # such as /api/validate-yaml
