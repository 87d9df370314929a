"""A Hugging Face Hub on the loopback: the HTTP calls that publishing and loading make, with faults on demand.

It keeps repositories in memory and answers as the Hub does, to the real `huggingface_hub` client. What it cannot show:
Xet transfers (the client runs with HF_HUB_DISABLE_XET=1), organisations' permissions, quotas, the real validation of
metadata.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TOKEN, ACCOUNT = "hf_loopback", "theory"
LARGE = (".safetensors", ".png", ".gif")  # kept as LFS objects, as .gitattributes and the Hub's scan of binaries would
PAGE = 5  # entries of a tree in one answer, few so that several are asked for


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repository:
    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    head: str = ""

    def commit(self, files: dict[str, bytes], message: str) -> str:
        said = json.dumps([self.head, message, {path: blob(content) for path, content in files.items()}])
        self.head = hashlib.sha1(said.encode()).hexdigest()
        self.commits[self.head] = files
        self.messages.append(message)
        return self.head

    def files(self, revision: str) -> dict[str, bytes] | None:
        commit = self.head if revision == "main" else self.tags.get(revision, revision)
        return self.commits.get(commit)

    def resolve(self, revision: str) -> str:
        return self.head if revision == "main" else self.tags.get(revision, revision)


@dataclass
class Fault:
    """What goes wrong with calls of a name: a status, a pause in seconds, a dropped connection, or other bytes."""

    call: str
    status: int = 0
    pause: float = 0.0
    drop: bool = False
    alter: Callable[[bytes], bytes] | None = None
    times: int = 10**6


class Hub(ThreadingHTTPServer):
    """The server; `calls` lists the names of the calls that were made, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.verified: set[str] = set()
        self.calls: list[str] = []
        self.faults: list[Fault] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def storage(self) -> str:
        """Large files are at another host, as the Hub's are: the client sends no token there and follows no further."""
        return f"http://localhost:{self.server_address[1]}/storage"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what some tests do."""


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class Refused(Exception):
    def __init__(self, status: int, code: str = "", says: str = "", body: Any = None):
        self.status, self.code, self.says, self.body = status, code, says, body


REPO = r"([\w.-]+/[\w.-]+)"
ROUTES: list[tuple[str, str, str]] = [
    ("whoami", "GET", r"/api/whoami-v2"),
    ("create", "POST", r"/api/repos/create"),
    ("validate-yaml", "POST", r"/api/validate-yaml"),
    ("preupload", "POST", rf"/api/models/{REPO}/preupload/([^/]+)"),
    ("commit", "POST", rf"/api/models/{REPO}/commit/([^/]+)"),
    ("tag", "POST", rf"/api/models/{REPO}/tag/([^/]+)"),
    ("tree", "GET", rf"/api/models/{REPO}/tree/([^/]+)"),
    ("revision", "GET", rf"/api/models/{REPO}/revision/([^/]+)"),
    ("refs", "GET", rf"/api/models/{REPO}/refs"),
    ("info", "GET", rf"/api/models/{REPO}"),
    ("lfs-batch", "POST", rf"/{REPO}\.git/info/lfs/objects/batch"),
    ("lfs-verify", "POST", rf"/{REPO}\.git/info/lfs/objects/verify"),
    ("lfs-put", "PUT", r"/storage/([0-9a-f]{64})"),
    ("lfs-get", "GET", r"/storage/([0-9a-f]{64})"),
    ("resolve-head", "HEAD", rf"/{REPO}/resolve/([^/]+)/(.+)"),
    ("resolve", "GET", rf"/{REPO}/resolve/([^/]+)/(.+)"),
]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.answer()

    do_POST = do_PUT = do_HEAD = do_GET

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self.chunks()
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        for name, method, pattern in ROUTES:
            found = re.fullmatch(pattern, url.path)
            if found and method == self.command:
                self.call(name, [unquote(part) for part in found.groups()], body)
                return
        self.server.calls.append(f"UNKNOWN {self.command} {url.path}")
        self.send(404, {"error": "the loopback does not know this call"})

    def chunks(self) -> bytes:
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def call(self, name: str, parts: list[str], body: bytes) -> None:
        self.server.calls.append(name)
        self.alter: Callable[[bytes], bytes] = lambda content: content
        for fault in self.server.faults:
            if fault.call == name and fault.times > 0:
                fault.times -= 1
                if fault.alter:
                    self.alter = fault.alter
                threading.Event().wait(fault.pause)
                if fault.drop:
                    self.close_connection = True
                    return
                if fault.status:
                    page = b"<html>a gateway's page</html>" if fault.status == 502 else {"error": "a fault on demand"}
                    self.send(fault.status, page, {"X-Error-Message": "a fault on demand"})
                    return
        try:
            getattr(self, name.replace("-", "_"))(*parts, body=body)
        except Refused as no:
            headers = {"X-Error-Code": no.code, "X-Error-Message": no.says}
            self.send(no.status, no.body or {"error": no.says}, {k: v for k, v in headers.items() if v})

    def send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for header, text in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(header, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    # Who may do what.

    @property
    def known(self) -> bool:
        given = self.headers.get("Authorization")
        if given not in (None, f"Bearer {TOKEN}"):
            raise Refused(401, says="Invalid credentials in Authorization header")
        return given is not None

    def writer(self) -> None:
        if not self.known:
            raise Refused(401, says="Invalid username or password.")

    def repository(self, name: str) -> Repository:
        found = self.server.repositories.get(name)
        if found is None or (found.private and not self.known):
            raise Refused(404 if self.known else 401, "RepoNotFound", "Repository not found")
        return found

    def at(self, name: str, revision: str) -> tuple[Repository, dict[str, bytes]]:
        repository = self.repository(name)
        files = repository.files(revision)
        if files is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository, files

    # The calls.

    def whoami(self, body: bytes) -> None:
        self.writer()
        self.send(200, {"type": "user", "name": ACCOUNT, "orgs": [], "auth": {"type": "access_token"}})

    def create(self, body: bytes) -> None:
        self.writer()
        asked = json.loads(body)
        name = f"{asked.get('organization') or ACCOUNT}/{asked['name']}"
        if not name.startswith(f"{ACCOUNT}/"):
            raise Refused(
                403, says=f"You don't have the rights to create a model under the namespace {name.split('/')[0]}"
            )
        if name in self.server.repositories:
            raise Refused(409, says="You already created this model repo")
        repository = Repository(asked.get("visibility") == "private")
        repository.commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}, "initial commit")
        self.server.repositories[name] = repository
        self.send(200, {"url": f"{self.server.endpoint}/{name}", "name": name})

    def validate_yaml(self, body: bytes) -> None:
        content = json.loads(body)["content"]
        found = re.match(r"---\n(.*?)\n---\n", content, re.S)
        data = yaml.safe_load(found[1]) if found else {}
        errors = []
        if not re.fullmatch(r"[a-z0-9.-]+", str(data.get("license"))):
            errors.append({"message": '"license" must be one of the known licences'})
        for model in data.get("model-index", []):
            for result in model["results"]:
                complete = result["task"]["type"] and result["dataset"]["type"] and result["dataset"]["name"]
                if not complete or any("value" not in m or not m.get("type") for m in result["metrics"]):
                    errors.append({"message": '"model-index" is not complete'})
        for name in data.get("datasets", []):
            if not re.fullmatch(REPO, name):
                errors.append({"message": f'"datasets" has {name}'})
        self.send(400 if errors else 200, {"errors": errors, "warnings": []})

    def info(self, name: str, body: bytes) -> None:
        self.revision(name, "main", body=body)

    def revision(self, name: str, revision: str, body: bytes) -> None:
        repository, files = self.at(name, revision)
        about = {"id": name, "modelId": name, "private": repository.private, "sha": repository.resolve(revision)}
        self.send(200, about | {"tags": [], "downloads": 0, "likes": 0, "siblings": [{"rfilename": p} for p in files]})

    def tree(self, name: str, revision: str, body: bytes) -> None:
        _, files = self.at(name, revision)
        folders = {path.rsplit("/", 1)[0] for path in files if "/" in path}
        entries: list[dict[str, Any]] = [
            {"type": "directory", "path": path, "size": 0, "oid": blob(path.encode())} for path in sorted(folders)
        ]
        for path, content in sorted(files.items()):
            entry = {"type": "file", "path": path, "size": len(content), "oid": blob(content)}
            if path.endswith(LARGE):
                oid = hashlib.sha256(content).hexdigest()
                entry |= {"oid": blob(oid.encode()), "lfs": {"oid": oid, "size": len(content), "pointerSize": 130}}
            entries.append(entry)
        start = int(self.query.get("cursor", 0))
        url = f"{self.server.endpoint}{urlsplit(self.path).path}?recursive=true&cursor={start + PAGE}"
        more = {"Link": f'<{url}>; rel="next"'} if start + PAGE < len(entries) else {}
        self.send(200, entries[start : start + PAGE], more)

    def refs(self, name: str, body: bytes) -> None:
        repository = self.repository(name)
        branches = [{"name": "main", "ref": "refs/heads/main", "targetCommit": repository.head}]
        tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in repository.tags.items()]
        self.send(200, {"branches": branches, "converts": [], "tags": tags})

    def tag(self, name: str, revision: str, body: bytes) -> None:
        self.writer()
        repository, _ = self.at(name, revision)
        asked = json.loads(body)["tag"]
        if asked in repository.tags:
            raise Refused(409, says="Tag reference exists already")
        repository.tags[asked] = repository.resolve(revision)
        self.send(200, {})

    def preupload(self, name: str, revision: str, body: bytes) -> None:
        self.writer()
        _, files = self.at(name, revision)
        answers = []
        for file in json.loads(body)["files"]:
            large, there = file["path"].endswith(LARGE), files.get(file["path"])
            oid = None if there is None else hashlib.sha256(there).hexdigest() if large else blob(there)
            mode = "lfs" if large else "regular"
            answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.send(200, {"files": answers})

    def lfs_batch(self, name: str, body: bytes) -> None:
        self.writer()
        answers = []
        for one in json.loads(body)["objects"]:
            answer = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.server.verified:
                put = {"href": f"{self.server.storage}/{one['oid']}"}
                verify = {"href": f"{self.server.endpoint}/{name}.git/info/lfs/objects/verify"}
                answer["actions"] = {"upload": put, "verify": verify}
            answers.append(answer)
        self.send(200, {"transfer": "basic", "objects": answers})

    def lfs_put(self, oid: str, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refused(400, says="the content does not have this hash")
        self.server.objects[oid] = body
        self.send(200, b"")

    def lfs_verify(self, name: str, body: bytes) -> None:
        self.writer()
        asked = json.loads(body)
        if len(self.server.objects.get(asked["oid"], b"")) != asked["size"]:
            raise Refused(404, says="object not found")
        self.server.verified.add(asked["oid"])
        self.send(200, {})

    def commit(self, name: str, revision: str, body: bytes) -> None:
        self.writer()
        repository, files = self.at(name, revision)
        lines = [json.loads(line) for line in body.splitlines()]
        head, files = lines[0]["value"], dict(files)
        if head.get("parentCommit", repository.head) != repository.head:
            raise Refused(412, says="A commit has happened since. Please refresh and try again.")
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.server.verified:
                    raise Refused(400, says="LFS pointer pointed to a file that does not exist")
                files[value["path"]] = self.server.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        oid = repository.commit(files, head["summary"])
        self.send(200, {"commitUrl": f"{self.server.endpoint}/{name}/commit/{oid}", "commitOid": oid, "success": True})

    def resolve_head(self, name: str, revision: str, path: str, body: bytes) -> None:
        repository, files = self.at(name, revision)
        headers = {"X-Repo-Commit": repository.resolve(revision)}
        if path not in files:
            self.send(404, b"", headers | {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
            return
        content = files[path]
        if path.endswith(LARGE):
            oid = hashlib.sha256(content).hexdigest()
            self.server.objects.setdefault(oid, content)
            self.server.verified.add(oid)
            linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(content))}
            self.send(302, b"", headers | linked | {"Location": f"{self.server.storage}/{oid}"})
            return
        self.send(200, self.alter(content), headers | {"ETag": f'"{blob(content)}"'})

    resolve = resolve_head

    def lfs_get(self, oid: str, body: bytes) -> None:
        if "Authorization" in self.headers:
            raise Refused(400, says="a token was sent to the storage")
        self.send(200, self.alter(self.server.objects[oid]), {"ETag": f'"{oid}"'})
