"""The gallery: what its pages say, what a build writes, and what a browser makes of the folder without a network."""

from __future__ import annotations

import html
import importlib.util
import json
import os
import re
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo import cards, registry
from zoo.claims import Cards
from zoo.cli import main
from zoo.gallery import build as building
from zoo.gallery import drawings, leaderboards, pages
from zoo.gallery.build import LIST, build, served
from zoo.gallery.curves import curves
from zoo.gallery.drawings import Drawing, Task
from zoo.gallery.mathematics import Formulas
from zoo.history import History
from zoo.registry import ZooError
from zoo.weights import read_record

SYSTEMS = list(registry.systems())
PAGES = ["index", "leaderboards", *SYSTEMS]
STILL = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 3"><path d="M0 3L4 0" stroke="#36a" stroke-width=".1"/></svg>'


def quickly(systems: list[registry.System], folder: Path, jobs: int) -> dict[str, list[Drawing]]:
    """A stand-in for every figure, which takes minutes to draw, and the real curves of one system."""
    found: dict[str, list[Drawing]] = {}
    for system in systems:
        (folder / system.name).mkdir()
        shown = found.setdefault(system.name, [])
        for task in drawings.tasks(system):
            if task.family:
                shown.extend(drawings.draw(task, folder) if system.name == "single_location" else [])
                continue
            figure = system.part("figures").FIGURES[task.index]
            (folder / system.name / f"{figure.name}.svg").write_text(STILL)
            about, files = figure.weights, {"svg": f"{figure.name}.svg"}
            shown.append(Drawing(system.name, figure.name, figure.name, figure.says, figure.source, about, files, 4, 3))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the whole registry; with its real figures where somebody wants to look at it."""
    out = tmp_path_factory.mktemp("gallery") / "site"
    done = build(out, draw=drawings.draw_all if os.environ.get("ZOO_SCREENSHOTS") else quickly)
    assert done.pages == len(PAGES) and not done.changed and not done.removed
    return out


def plain(markup: str) -> str:
    """The text of HTML on one line, without what only machines read."""
    without = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", markup, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", without)).split())


# What the pages say.


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_page_has_every_claim_with_the_numbers_of_its_verdict(site: Path, name: str) -> None:
    system, markup = registry.system(name), (site / f"{name}.html").read_text()
    rows = re.findall(r'<tr id="(claim-[^"]*)" class="zoo-(\w+)">(.*?)</tr>', markup, flags=re.DOTALL)
    assert len({key for key, _, _ in rows}) == len(rows), "an address names one claim"
    known, claims = Cards(system), system.part("claims").CLAIMS
    assert len(rows) == len(claims)
    unseen = [(verdict, plain(row)) for _, verdict, row in rows]
    for claim in claims:
        entry = known.find(claim)
        verdict = entry["verdict"] if entry else "not"
        said = [" ".join(one.split()) for one in (f"{claim.id} {claim.says}", claim.source)]
        if entry:
            said += [cards.expected(entry), cards.shown(entry["now"]), entry["verdict"], entry.get("note", "")]
        fitting = [row for row in unseen if row[0] == verdict and all(" ".join(one.split()) in row[1] for one in said)]
        assert fitting, f"{claim.id}: {said}"
        unseen.remove(fitting[0])
    kinds = [kind for _, kind, _ in rows]
    assert "differs" not in kinds[kinds.count("differs") :], "what differs stands first"


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_page_has_every_weight_recipe_figure_and_the_paper(site: Path, name: str) -> None:
    system, markup = registry.system(name), (site / f"{name}.html").read_text()
    text = plain(markup)
    for key, path in registry.weight_files().items():
        if key.startswith(f"{name}."):
            record = read_record(path)
            start = markup.index(f'id="weight-{record.tag}"')
            item = plain(markup[start : markup.index("</details>", start)])
            for fact in (key, record.sha256, f"{record.size:,} bytes", record.network, record.command, record.dtype):
                assert fact in item, f"{key}: {fact}"
            assert cards.arguments(record.arguments) in item
    for key, path in registry.recipe_files().items():
        if key.startswith(f"{name}/"):
            assert key in text and plain(html.escape(path.read_text())) in text, key
    for figure in system.part("figures").FIGURES:
        assert " ".join(figure.says.split()) in text or not (site / "figures" / name / f"{figure.name}.svg").is_file()
    for fact in (
        system.summary,
        system.paper.title,
        system.paper.arxiv,
        f"zoo verify {name}",
        f'torch.hub.load(".", "{name}"',
    ):
        assert " ".join(fact.split()) in text, fact
    if (system.folder / "mathematics.md").is_file():
        assert 'id="mathematics"' in markup and "currentColor" in markup and "zooformula" not in markup


def test_home_has_a_tile_of_every_system_with_its_counts(site: Path) -> None:
    markup = (site / "index.html").read_text()
    tiles = re.findall(r'<a class="zoo-tile" href="(\w+)\.html"(.*?)</a>', markup, flags=re.DOTALL)
    assert [name for name, _ in tiles] == SYSTEMS
    for name, tile in tiles:
        system = registry.system(name)
        entries = [entry for claim in system.part("claims").CLAIMS if (entry := Cards(system).find(claim))]
        assert cards.counts(entries).replace(" claims", "") in plain(tile) and system.title in plain(tile)
        assert (site / re.search(r'src="([^"]+)"', tile)[1]).is_file()  # type: ignore[index]


def test_leaderboards_are_the_records_and_published_rows_say_so(site: Path) -> None:
    from zoo.models.conversational_parser import published

    text = plain((site / "leaderboards.html").read_text())
    language, parsers, images = leaderboards.leaderboards()
    best = read_record(registry.weight_file("attention_memorizer.wikitext2"))
    assert language.rows[0].name == best.name and language.rows[0].values == (best.metrics["val_perplexity"],)
    assert {row.kind for row in language.rows + images.rows} == {"ours", "reference"}
    others = {row.name: row for row in parsers.rows if row.kind == "published"}
    assert {name: row.values[0] for name, row in others.items()} == {
        **published.TOTALS,
        "LASAGNE": published.LASAGNE_TOTAL,
    }
    assert text.count("published, other data") == len(others)
    for row in images.rows:
        record = read_record(registry.weight_file(row.name))
        assert row.values[0] == pytest.approx(100 * record.metrics["val_accuracy"], rel=1e-4)
        assert row.values[1] <= row.values[0] <= row.values[2]
    for row in language.rows + parsers.rows + images.rows:
        assert row.name in text and all(leaderboards.shown(value) in text for value in row.values)


def test_a_formula_that_is_no_latex_is_named_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "mathematics.md"
    for bad, says in (
        ("one\n\nand $\\frac{1}{$", r"line 3: .* is no LaTeX"),
        ("one $\\nosuchthing x$", r"line 1: .*\\nosuchthing is not known"),
        ("a price of $5", r"line 1: a \$ has no partner"),
    ):
        with pytest.raises(ZooError, match=says) as error:
            Formulas().taken(bad, path)
        assert str(path) in str(error.value)
    formulas = Formulas()
    source = formulas.taken("`$a$`, \\$5, $a_1 < b_2$ and\n\n$$\nx^2\n$$\n\n```\n$c$\n```\n", path)
    assert "`$a$`" in source and "$c$" in source and "5" in source and source.count("zoo-display") == 1
    assert formulas.put(source).count("<svg") == 2 and "a_1 &lt; b_2" in formulas.put(source)
    assert json.loads(formulas.typed('{"text": "zooformula0end"}'))["text"] == "a_1 &lt; b_2"


def test_curves_are_the_mean_over_replicas_and_hold_most_of_them_in_the_band() -> None:
    history = History()
    for step in (0, 10, 20):
        history.add(step, {"loss": torch.tensor([1.0, 2.0, 6.0]) * (step + 1), "constant": torch.ones(3)})
    history.add(20, {"val_loss": torch.ones(3), "once": torch.ones(3)})
    canvas = curves({"tag": history})
    assert canvas is not None
    (ax,) = canvas.axes
    assert ax.get_title() == "loss" and ax.lines[0].get_ydata() == pytest.approx([3.0, 33.0, 63.0])
    corners = ax.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == pytest.approx(1.2) and corners[:, 1].max() == pytest.approx(21 * 5.2)
    assert curves({"tag": History()}) is None


def test_a_drawing_keeps_caption_source_and_size(tmp_path: Path) -> None:
    system = registry.system("deep_linear")
    names = [figure.name for figure in system.part("figures").FIGURES]
    (drawn,) = drawings.draw(Task("deep_linear", names.index("minimisers")), tmp_path)
    assert drawn.files == {"svg": "minimisers.svg"} and (tmp_path / "deep_linear" / "minimisers.svg").is_file()
    assert drawn.width > drawn.height > 1 and not list(tmp_path.rglob("*.png"))
    for part in (drawn.says, drawn.source):
        assert html.escape(part) in pages.figure_html(drawn)


# What a build writes.


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()
    }


def never(*_: Any) -> dict[str, list[Drawing]]:
    raise AssertionError("nothing is to be drawn")


def test_a_second_build_rewrites_nothing_and_mends_only_what_is_missing(site: Path, tmp_path: Path) -> None:
    before = contents(site)
    assert str(build(site, draw=never)).startswith("nothing to do") and contents(site) == before
    out = tmp_path / "site"
    shutil.copytree(site, out)
    (out / "index.html").unlink()
    (out / "notes.txt").write_text("mine")
    before = contents(out)
    done = build(out, draw=lambda systems, *_: never() if systems else {})
    after = contents(out)
    assert (done.new, done.changed, done.removed) == (["index.html"], [], [])
    assert {name for name in after if after[name] != before.get(name)} == {"index.html", LIST}
    assert after["index.html"][1] == (site / "index.html").read_bytes() and (out / "notes.txt").read_text() == "mine"


def test_a_changed_system_is_drawn_again_alone_and_its_old_files_go(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "site"
    shutil.copytree(site, out)
    monkeypatch.setattr(building, "key", lambda one: "other" if one.name == "deep_linear" else drawings.key(one))
    asked = []

    def fewer(systems: list[registry.System], folder: Path, jobs: int) -> dict[str, list[Drawing]]:
        asked.extend(system.name for system in systems)
        return {name: drawn[:1] for name, drawn in quickly(systems, folder, jobs).items()}

    def first_alone(systems: list[registry.System], folder: Path, jobs: int) -> dict[str, list[Drawing]]:
        found = fewer(systems, folder, jobs)
        for path in (folder / "deep_linear").iterdir():
            if path.name not in found["deep_linear"][0].files.values():
                path.unlink()
        return found

    done = build(out, draw=first_alone)
    assert (
        asked == ["deep_linear"]
        and len(done.removed) > 3
        and all("figures/deep_linear/" in one for one in done.removed)
    )
    assert "deep_linear.html" in done.changed and "single_location.html" not in done.changed


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_text("a file"), "is a file; the site needs a folder"),
        (lambda path: (path / "deep").mkdir(parents=True), "holds files that are no gallery"),
        (lambda path: (path.mkdir(), (path / LIST).write_text("[]")), "is not the list of a gallery's files"),
    ],
)
def test_a_folder_that_is_not_ours_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], Any], says: str
) -> None:
    path = tmp_path / "site"
    make(path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["gallery", "--out", str(path)]) == 2
    told = capsys.readouterr().err
    assert says in told and str(path) in told and told.count("\n") == 1 and sorted(tmp_path.rglob("*")) == before


def test_without_the_extra_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["gallery", "--out", str(tmp_path / "site")]) == 2
    assert "needs mkdocs: pip install -e '.[gallery]'" in capsys.readouterr().err and not (tmp_path / "site").exists()


def test_serving_answers_on_this_machine_alone(site: Path) -> None:
    with served(site) as address:
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}single_location.html") as answer:
            assert b"Single-location regression" in answer.read()


# What a browser makes of it.


class Seen:
    """A page in the browser, and what it did wrong."""

    def __init__(self, browser: Any, site: Path, name: str, width: int = 1280, scheme: str = "light") -> None:
        size = {"width": width, "height": 900 if width > 600 else 844}
        self.context = browser.new_context(viewport=size, color_scheme=scheme)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.folder = site.as_uri()
        self.page.on("console", lambda one: self.wrong.append(one.text) if one.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("requestfailed", lambda one: self.wrong.append(f"failed {one.url}"))
        self.page.on("request", lambda one: None if self._inside(one.url) else self.wrong.append(f"left for {one.url}"))
        self.page.goto(f"{self.folder}/{name}")
        self.page.wait_for_load_state("load")

    def _inside(self, url: str) -> bool:
        return url.startswith((f"{self.folder}/", "data:", "blob:", "about:"))

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_a_network_on_a_desk_and_on_a_phone(browser: Any, site: Path, name: str) -> None:
    shots = os.environ.get("ZOO_SCREENSHOTS")
    grounds = set()
    for scheme in ("light", "dark"):
        for width in (1280, 390):
            with Seen(browser, site, f"{name}.html", width, scheme) as seen:
                seen.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
                wide = seen.page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{wide} px wide on a screen of {width} px"
                broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
                assert seen.page.evaluate(broken) == []
                grounds.add(seen.page.evaluate("getComputedStyle(document.body).backgroundColor"))
                seen.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
                if shots:
                    Path(shots).mkdir(parents=True, exist_ok=True)
                    seen.page.wait_for_timeout(300)
                    seen.page.screenshot(path=str(Path(shots) / f"{name}-{width}-{scheme}.png"), full_page=True)
                assert seen.wrong == []
    assert len(grounds) == 2, "light and dark have different grounds"


def test_the_search_finds_a_system_a_claim_and_a_weight(browser: Any, site: Path) -> None:
    with Seen(browser, site, "index.html") as seen:
        for asked, wanted in (("metastability", "self_attention_dynamics"), ("softmax_oracle", "single_location")):
            box = seen.page.locator("input[name=query]")
            box.fill("")
            box.press_sequentially(asked)
            found = seen.page.locator(f".md-search-result__link[href*='{wanted}.html']").first
            found.wait_for(state="attached", timeout=10_000)
        seen.page.locator(".md-search-result__link[href*='single_location.html']").first.click()
        seen.page.wait_for_url("**/single_location.html*")
        assert seen.wrong == []


def test_filters_narrow_the_tiles_and_stand_in_the_address(browser: Any, site: Path) -> None:
    attention = [name for name in SYSTEMS if registry.system(name).topic == "attention"]
    with Seen(browser, site, "index.html") as seen:
        tiles, count = seen.page.locator(".zoo-tile:visible"), seen.page.locator(".zoo-count")
        assert tiles.count() == len(SYSTEMS) and count.inner_text() == f"{len(SYSTEMS)} systems"
        seen.page.select_option("[data-facet=topic]", "attention")
        assert tiles.count() == len(attention) and count.inner_text() == f"{len(attention)} of {len(SYSTEMS)} systems"
        seen.page.select_option("[data-facet=data]", "wikitext-2")
        assert tiles.count() == 1 and "scan_and_snap" in tiles.first.get_attribute("href")
        assert "topic=attention" in seen.page.url and "data=wikitext-2" in seen.page.url
        seen.page.reload()
        assert tiles.count() == 1 and seen.page.input_value("[data-facet=topic]") == "attention"
        seen.page.select_option("[data-facet=data]", "mnist")
        assert tiles.count() == 0 and seen.page.get_by_text("No system fits all of these").is_visible()
        seen.page.click(".zoo-filters button")
        seen.page.wait_for_function(f"document.querySelectorAll('.zoo-tile:not([hidden])').length == {len(SYSTEMS)}")
        assert "#" not in seen.page.url and seen.wrong == []


def test_a_snippet_is_copied(browser: Any, site: Path) -> None:
    with Seen(browser, site, "single_location.html") as seen:
        seen.context.grant_permissions(["clipboard-read", "clipboard-write"])
        block = seen.page.locator(".highlight", has_text="zoo verify single_location").first
        block.hover()
        block.locator("button[data-clipboard-target], [data-md-type=copy], .md-clipboard").first.click()
        seen.page.wait_for_timeout(200)
        copied = seen.page.evaluate("navigator.clipboard.readText()")
        assert copied.splitlines()[0] == "zoo verify single_location" and "zoo train single_location/" in copied
        assert seen.wrong == []


def test_an_address_unfolds_the_weight_that_it_names(browser: Any, site: Path) -> None:
    with Seen(browser, site, "leaderboards.html") as seen:
        seen.page.get_by_text("attention_memorizer.wikitext2", exact=True).first.click()
        seen.page.wait_for_url("**/attention_memorizer.html#weight-wikitext2")
        record = read_record(registry.weight_file("attention_memorizer.wikitext2"))
        assert seen.page.get_by_text(record.sha256).is_visible() and seen.wrong == []


INTERACTIVE = [name for name in SYSTEMS if (registry.system(name).folder / "interactive.py").is_file()]


@pytest.mark.parametrize("name", INTERACTIVE)
def test_a_slider_changes_the_plot(browser: Any, site: Path, name: str) -> None:
    with Seen(browser, site, f"{name}.html") as seen:
        slider = seen.page.locator(".zoo-interactive input[type=range]").first
        drawn = "[...document.querySelectorAll('.zoo-interactive svg path')].map(p => p.getAttribute('d')).join()"
        before = seen.page.evaluate(drawn)
        assert len(before) > 500
        slider.focus()
        for _ in range(4):
            slider.press("ArrowLeft")
        seen.page.wait_for_timeout(200)
        assert seen.page.evaluate(drawn) != before and seen.wrong == []
