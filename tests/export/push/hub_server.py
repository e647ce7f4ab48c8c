"""A stand-in for the Hugging Face Hub: as much of its protocol as a push speaks."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

from tests.export.push.server import StandIn


class Hub(StandIn):
    """Repositories in memory; large files by their SHA-256, as Git LFS keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.private: dict[str, bool] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.large: dict[str, set[str]] = {}
        self.commits: dict[str, int] = {}
        self.stored: dict[str, bytes] = {}
        self.refuse: str | None = None

    def create(self, repository: str, *, private: bool, **files: bytes) -> None:
        self.private[repository] = private
        self.files[repository] = {".gitattributes": b"", **files}
        self.large[repository], self.commits[repository] = set(), 1

    def revision(self, repository: str) -> str:
        return f"{self.commits[repository]:040d}"

    def answer(self, method: str, path: str, body: bytes, login: str) -> tuple[int, Any]:
        if login == "Bearer hf_wrong":
            return 401, {"error": "Invalid credentials"}
        if path == "/api/repos/create":
            asked = json.loads(body)
            repository = f"{asked['organization']}/{asked['name']}"
            private = asked.get("private") or asked.get("visibility") == "private"
            self.create(repository, private=private)
            return 200, {"url": f"{self.address}/{repository}"}
        if path == "/api/validate-yaml":
            wrong = "license" not in json.loads(body)["content"]
            errors = [{"message": '"license" is missing'}] if wrong else []
            return 400 if wrong else 200, {"errors": errors, "warnings": []}
        if path.startswith("/large/"):
            oid = path.removeprefix("/large/")
            if oid == self.refuse:
                return 400, {"error": "the line broke"}
            assert hashlib.sha256(body).hexdigest() == oid
            self.stored[oid] = body
            return 200, {}
        found = re.fullmatch(r"(?:/api/models)?/(\w+/[\w-]+?)(?:\.git)?(/.*)?", path)
        repository, rest = found[1], found[2] or ""
        if repository not in self.files:
            return 404, {"error": "Repository not found"}
        return self._of_repository(repository, rest, body)

    def _of_repository(self, repository: str, rest: str, body: bytes) -> tuple[int, Any]:
        files, large = self.files[repository], self.large[repository]
        if rest in ("", "/revision/main"):  # which of them is asked depends on the release
            name = {"id": repository, "sha": self.revision(repository)}
            return 200, {**name, "private": self.private[repository], "siblings": [], "tags": []}
        if rest.startswith("/tree/"):
            return 200, [
                self._entry(name, content, name in large) for name, content in files.items()
            ]
        if rest.startswith("/preupload/"):
            return 200, {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["size"] > 1000 else "regular",
                        "shouldIgnore": False,
                        "oid": None,
                    }
                    for file in json.loads(body)["files"]
                ]
            }
        if rest == "/info/lfs/objects/batch":
            return 200, {"objects": [self._object(each) for each in json.loads(body)["objects"]]}
        assert rest == "/commit/main", rest
        return self._commit(repository, [json.loads(line) for line in body.splitlines()])

    def _commit(self, repository: str, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        parent = lines[0]["value"].get("parentCommit")
        if parent not in (None, self.revision(repository)):
            return 412, {"error": "A commit has happened since"}
        for line in lines[1:]:
            value = line["value"]
            name = value["path"]
            if line["key"] == "file":
                self.files[repository][name] = base64.b64decode(value["content"])
            else:
                self.files[repository][name] = self.stored[value["oid"]]
                self.large[repository].add(name)
        self.commits[repository] += 1
        url = f"{self.address}/{repository}/commit/main"
        return 200, {"commitUrl": url, "commitOid": self.revision(repository)}

    def _object(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Where a large file is to be sent; nowhere if it is there."""
        if asked["oid"] in self.stored:
            return asked
        return {**asked, "actions": {"upload": {"href": f"{self.address}/large/{asked['oid']}"}}}

    def _entry(self, name: str, content: bytes, large: bool) -> dict[str, Any]:
        size = len(content)
        git = hashlib.sha1(f"blob {size}\0".encode() + content).hexdigest()
        entry = {"type": "file", "path": name, "size": size, "oid": git}
        if large:
            oid = hashlib.sha256(content).hexdigest()
            entry |= {"oid": "0" * 40, "lfs": {"oid": oid, "size": size, "pointerSize": 130}}
        return entry
