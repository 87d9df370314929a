"""W&B on the loopback: the calls that saving a workspace or a report makes, and those of a run, from the real client.

What it cannot show: whether W&B's web page draws what was saved, permissions and quotas; artifacts are refused.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY, ENTITY = "0" * 40, "theory"


@dataclass
class View:
    id: str
    name: str
    project: str
    kind: str
    title: str
    spec: dict[str, Any]


@dataclass
class State:
    """What the server holds; `calls` are the names of the operations in order."""

    projects: list[str] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)  # what a run was started with, by id
    history: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)  # lines by their place, by run
    files: dict[str, bytes] = field(default_factory=dict)
    locked: tuple[str, ...] = ()  # projects into which nobody may write


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.state = State()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def environment(self) -> dict[str, str]:
        """For a process whose W&B client talks to this server."""
        return {"WANDB_BASE_URL": self.address, "WANDB_API_KEY": KEY, "WANDB_MODE": "", "WANDB_SILENT": "true"}


def page(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    edges = [{"node": node, "cursor": str(i)} for i, node in enumerate(nodes)]
    return {"edges": edges, "pageInfo": {"hasNextPage": False, "endCursor": None}}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/file_stream"):
            self.stream(self.path.split("/")[-2], json.loads(content))
            self.send({})
            return
        if self.path != "/graphql":  # the client's own telemetry
            self.send_error(404)
            return
        asked = json.loads(content)
        given = asked.get("variables") or {}
        named = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
        name = named[1] if named else asked["query"]
        self.server.state.calls.append(name)
        if given.get("projectName") in self.server.state.locked and "spec" in given:
            self.send({"errors": [{"message": "permission denied"}], "data": None})
        elif name not in self.answers():
            self.send({"errors": [{"message": f"{name} is not served"}], "data": None})
        else:
            self.send({"data": self.answers()[name](given)})

    def do_PUT(self) -> None:
        self.server.state.files[self.path] = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send({})

    def send(self, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def stream(self, run: str, told: dict[str, Any]) -> None:
        lines = told.get("files", {}).get("wandb-history.jsonl", {"offset": 0, "content": []})
        held = self.server.state.history.setdefault(run, {})
        held |= {lines["offset"] + i: json.loads(line) for i, line in enumerate(lines["content"])}

    def answers(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        user = {"id": "u1", "username": "me", "email": "", "entity": ENTITY, "flags": "{}", "teams": {"edges": []}}
        return {
            "Viewer": lambda _: {"viewer": user},
            "GetDefaultEntity": lambda _: {"viewer": user},
            "GetProjects": self.projects,
            "CreateProject": self.create,
            "EarlierView": lambda given: self.views(given["project"], "project-view", given["view"]),
            "ProjectViews": lambda given: self.views(
                given["project"], given.get("viewType", "runs"), given.get("viewName")
            ),
            "ProjectInternalId": lambda given: {"project": {"id": "p1", "internalId": f"p-{given['projectName']}"}},
            "UpsertBucket": self.start,
            "CreateRunFiles": lambda given: {"createRunFiles": self.places(given["files"])},
            "UpsertView2": self.upsert,
            "upsertView": self.upsert,
        }

    def projects(self, given: dict[str, Any]) -> dict[str, Any]:
        names = self.server.state.projects
        common = {"entityName": given["entity"], "createdAt": "2025-01-01T00:00:00", "isBenchmark": False, "user": None}
        return {"models": page([common | {"id": name, "name": name, "__typename": "Project"} for name in names])}

    def create(self, given: dict[str, Any]) -> dict[str, Any]:
        self.server.state.projects.append(given["input"]["name"])
        return {"result": {"inserted": True, "project": None, "model": None}}

    def views(self, project: str, kind: str, name: str | None) -> dict[str, Any]:
        held = [one for one in self.server.state.views if (one.project, one.kind) == (project, kind)]
        held = [one for one in held if name is None or one.name == name]
        nodes = [{"id": one.id, "name": one.name, "displayName": one.title, "spec": "{}"} for one in held]
        return {"project": {"allViews": page(nodes)}}

    def start(self, given: dict[str, Any]) -> dict[str, Any]:
        self.server.state.runs.setdefault(given["name"], given)
        project = {"id": "p1", "name": given["project"], "entity": {"id": "e1", "name": ENTITY}}
        bucket = {"id": "b1", "name": given["name"], "displayName": given["displayName"], "description": None}
        bucket |= {"config": "{}", "sweepName": None, "historyLineCount": 0, "project": project}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def places(self, names: list[str]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.server.address}/{name}"} for name in names]
        return {"runID": "b1", "uploadHeaders": [], "files": files}

    def upsert(self, given: dict[str, Any]) -> dict[str, Any]:
        state = self.server.state
        if given["projectName"] not in state.projects:
            raise AssertionError("the client saves into a project that is not there")
        spec = json.loads(given["spec"])
        found = [one for one in state.views if one.id == given.get("id")]
        if found:
            found[0].title, found[0].spec = given["displayName"], spec
        else:
            view = View(
                f"view{len(state.views)}",
                given["name"],
                given["projectName"],
                given["type"],
                given["displayName"],
                spec,
            )
            state.views.append(view)
            found = [view]
        shown = {"id": found[0].id, "name": found[0].name, "displayName": found[0].title, "description": ""}
        shown |= {"type": found[0].kind, "spec": given["spec"], "updatedAt": None}
        shown["project"] = {"id": "p1", "name": given["projectName"], "entityName": given["entityName"]}
        return {"upsertView": {"view": shown, "inserted": len(found) == 0}}


@contextmanager
def serving() -> Iterator[Server]:
    """A server in a thread of this process."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
