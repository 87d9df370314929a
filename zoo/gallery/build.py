"""The site: sources from the registry, MkDocs Material over them, and into the folder only what is not there already.

The folder holds a list of our files with their hashes. It says whether anything is to be done, which figures still stand,
and what may be replaced or removed: a file that is not on it is never touched.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from zoo import registry
from zoo.cards import dumped
from zoo.files import write_beside, write_json
from zoo.gallery import leaderboards, pages
from zoo.gallery.drawings import Drawing, digest, draw_all, key, processes
from zoo.gallery.mathematics import Formulas
from zoo.registry import System, ZooError, read_json

LIST = "zoo-gallery.json"
ASSETS = Path(__file__).parent / "assets"
TOOLS = ("mkdocs", "mkdocs-material", "ziamath")
# Of the site tool's files, those that a folder on a disk has no use for; a map of the site would change every day.
UNUSED = ("sitemap.xml", "sitemap.xml.gz", "404.html")

Draw = Callable[[list[System], Path, int], dict[str, list[Drawing]]]


@dataclass
class Built:
    """What a build did: paths under the folder, and seconds."""

    pages: int = 0
    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    drawn: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        if not (self.new or self.changed or self.removed):
            return "nothing to do: the site is as it would be built"
        what = f"{len(self.new)} new, {len(self.changed)} changed, {len(self.removed)} removed files"
        return f"{self.pages} pages, {self.drawn} figures drawn; {what}; {self.seconds:.0f} s"


def build(out: Path, jobs: int | None = None, draw: Draw = draw_all) -> Built:
    """Makes `out` the site of the registry as it is.

    Args:
        jobs: processes that draw; one per core if None.
        draw: draws the figures of systems into a folder.

    Raises:
        ZooError: `out` is a file or holds other things, the site tool is missing or refuses, a formula is no LaTeX.
    """
    start = time.perf_counter()
    before = look(out)
    for name in TOOLS:
        if importlib.util.find_spec(name.replace("mkdocs-material", "material")) is None:
            raise ZooError(f"The gallery needs {name}: pip install -e '.[gallery]'")
    systems = list(registry.systems().values())
    keys = {one.name: key(one) for one in systems}
    inputs = everything(keys)
    done = Built(pages=len(systems) + 2)
    if before.get("inputs") == inputs and all(sha(out / name) == known for name, known in before["files"].items()):
        return done
    with tempfile.TemporaryDirectory(prefix="zoo-gallery-") as name:
        room = Path(name)
        drawings = figures(out, before, systems, keys, room / "figures", jobs or processes(), draw, done)
        formulas = Formulas()
        found = [pages.card(one, drawings[one.name]) for one in systems]
        write_sources(room, found, formulas)
        site_tool(room)
        finish(room / "site", formulas)
        shutil.move(room / "figures", room / "site" / "figures")
        about = {"inputs": inputs, "keys": keys}
        listed = {name: [dataclasses.asdict(one) for one in drawn] for name, drawn in drawings.items()}
        put(room / "site", out, before, about | {"drawings": listed}, done)
    done.seconds = time.perf_counter() - start
    return done


def look(out: Path) -> dict[str, Any]:
    """The list of our files in a folder; without one the folder must be empty, or not there.

    Raises:
        ZooError: the folder is a file, or is not ours.
    """
    if out.exists() and not out.is_dir():
        raise ZooError(f"--out={out} is a file; the site needs a folder.")
    if (out / LIST).is_file():
        found = read_json(out / LIST)
        if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
            raise ZooError(f"{out / LIST} is not the list of a gallery's files: choose another folder.")
        return found
    if out.is_dir() and any(out.iterdir()):
        raise ZooError(f"--out={out} holds files that are no gallery of the zoo: choose an empty or new folder.")
    return {"files": {}, "keys": {}, "drawings": {}}


def everything(keys: dict[str, str]) -> str:
    """sha256 of all that the site is made from: what figures are drawn from, all code, records, texts, recipes, tools."""
    package = Path(registry.__file__).parent
    kinds = {".py", ".json", ".md", ".js", ".css", ".svg"}
    files = [p for p in package.rglob("*") if p.suffix in kinds and "__pycache__" not in p.parts]
    tools = [f"{name} {version(name)}" for name in TOOLS]
    recipes = registry.recipe_files().values()
    words = [*keys.values(), *tools, *(f"{path.name} {sha(path)}" for path in recipes)]
    return digest(files, package.parent, *words)


def figures(
    out: Path,
    before: dict[str, Any],
    systems: list[System],
    keys: dict[str, str],
    folder: Path,
    jobs: int,
    draw: Draw,
    done: Built,
) -> dict[str, list[Drawing]]:
    """The figures of all systems in `folder`: those of an unchanged system from the last build, the others drawn."""
    folder.mkdir()
    kept: dict[str, list[Drawing]] = {}
    for one in systems:
        listed = [
            Drawing(**{**drawing, "about": tuple(drawing["about"])}) for drawing in before["drawings"].get(one.name, [])
        ]
        paths = [f"figures/{one.name}/{name}" for drawing in listed for name in drawing.files.values()]
        if before["keys"].get(one.name) == keys[one.name] and all(
            sha(out / p) == before["files"].get(p) for p in paths
        ):
            kept[one.name] = listed
            (folder / one.name).mkdir()
            for path in paths:
                shutil.copyfile(out / path, folder.parent / path)
    fresh = draw([one for one in systems if one.name not in kept], folder, jobs)
    done.drawn = sum(map(len, fresh.values()))
    return {one.name: kept.get(one.name, fresh.get(one.name, [])) for one in systems}


def write_sources(room: Path, found: list[pages.Card], formulas: Formulas) -> None:
    """The site tool's configuration and Markdown."""
    docs = room / "docs"
    shutil.copytree(ASSETS, docs / "assets")
    texts = {pages.HOME: pages.home(found), pages.BOARDS: pages.boards(leaderboards.leaderboards())}
    texts |= {one.system.name: pages.page(one, formulas) for one in found}
    for name, text in texts.items():
        (docs / f"{name}.md").write_text(text, encoding="utf-8")
    (room / "mkdocs.yml").write_text(dumped(configuration(found)), encoding="utf-8")


def configuration(found: list[pages.Card]) -> dict[str, Any]:
    """Of MkDocs Material: no fonts and no scripts from elsewhere, plain file names, search without a server."""
    moon, sun = "material/weather-night", "material/weather-sunny"
    return {
        "site_name": "Theorem Zoo",
        "site_description": "Networks from the theory of deep learning, with their claims recomputed",
        "use_directory_urls": False,
        "theme": {
            "name": "material",
            "font": False,
            "icon": {"logo": "material/function-variant"},
            "favicon": "assets/icon.svg",
            "features": ["content.code.copy", "toc.follow", "navigation.top", "search.highlight"],
            "palette": [
                {
                    "media": "(prefers-color-scheme: light)",
                    "scheme": "default",
                    "toggle": {"icon": moon, "name": "Dark"},
                },
                {"media": "(prefers-color-scheme: dark)", "scheme": "slate", "toggle": {"icon": sun, "name": "Light"}},
            ],
        },
        # "offline" writes the search index as a script; its shim for workers would come from a server, so it is ours.
        "plugins": [{"search": {"separator": r"[\s\-_./,:;()=<>'\"“”]+"}}, "offline"],
        "extra": {"polyfills": ["assets/iframe-worker.js"], "generator": False},
        "extra_css": ["assets/gallery.css"],
        "extra_javascript": ["assets/gallery.js"],
        "markdown_extensions": [
            "tables",
            "md_in_html",
            "attr_list",
            {"toc": {"permalink": False, "toc_depth": 3}},
            {"pymdownx.highlight": {"anchor_linenums": False}},
            "pymdownx.superfences",
        ],
        "nav": [
            {"Systems": f"{pages.HOME}.md"},
            {"Leaderboards": f"{pages.BOARDS}.md"},
            *({one.system.title: f"{one.system.name}.md"} for one in found),
        ],
    }


def site_tool(room: Path) -> None:
    """Runs MkDocs in a process of its own, whose warnings and logging are not ours.

    Raises:
        ZooError: it refuses; the sentence has what it says.
    """
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(room / "site")]
    surroundings = os.environ | {"NO_MKDOCS_2_WARNING": "1", "SOURCE_DATE_EPOCH": "0"}
    ran = subprocess.run(command, cwd=room, env=surroundings, capture_output=True, text=True)
    if ran.returncode:
        says = [line for line in (ran.stdout + ran.stderr).splitlines() if line.strip()]
        raise ZooError(f"MkDocs refuses the site: {' '.join(says[-3:]) or ran.returncode}")


def finish(site: Path, formulas: Formulas) -> None:
    """Puts the formulas into pages and search index, and takes out what a folder on a disk has no use for."""
    for name in UNUSED:
        (site / name).unlink(missing_ok=True)
    shutil.rmtree(site / "assets" / "javascripts" / "lunr", ignore_errors=True)  # stemmers of other languages
    for path in site.rglob("*"):
        if path.suffix == ".map":
            path.unlink()
        elif path.suffix == ".html":
            path.write_text(formulas.put(path.read_text(encoding="utf-8")), encoding="utf-8")
        elif path.name in ("search_index.json", "search_index.js"):
            path.write_text(formulas.typed(path.read_text(encoding="utf-8")), encoding="utf-8")


def put(site: Path, out: Path, before: dict[str, Any], about: dict[str, Any], done: Built) -> None:
    """Makes `out` hold the files of `site`, writing only what differs, and removes what only the last build had."""
    files = {path.relative_to(site).as_posix(): sha(path) for path in sorted(site.rglob("*")) if path.is_file()}
    for name, wanted in files.items():
        there = sha(out / name)
        if there == wanted:
            continue
        if there and name not in before["files"]:
            raise ZooError(f"{out / name} is not of the gallery, and the gallery has a file of this name: remove it.")
        (done.changed if there else done.new).append(name)
        with write_beside(out / name) as beside:
            shutil.copyfile(site / name, beside)
    for name in before["files"]:
        if name not in files and (out / name).is_file():
            (out / name).unlink()
            done.removed.append(name)
    write_json(out / LIST, about | {"files": files})


def sha(path: Path) -> str:
    """Hex sha256 of a file's bytes, "" if there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""


@contextmanager
def served(out: Path) -> Iterator[str]:
    """Serves the folder on 127.0.0.1 at a free port while the block runs, and gives its address."""
    import functools
    import threading
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(out))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
