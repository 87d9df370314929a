"""One style for every figure of the zoo, saved as SVG and PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.figure import Figure as Canvas

from zoo.files import write_beside
from zoo.registry import System, natural

COLOURS = ["#3366aa", "#cc5533", "#449955", "#885599", "#bb9922", "#338899", "#aa4477", "#777777"]
THEORY: dict[str, Any] = {"color": "black", "linestyle": "--", "linewidth": 1.2, "zorder": 5}

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "svg.hashsalt": "theorem-zoo",  # the same figure gives the same bytes
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Film:
    """A figure that moves: `show(i)` puts frame i, of 0 … frames-1, on the canvas; the last one is its still."""

    canvas: Canvas
    frames: int
    show: Callable[[int], None]
    fps: int = 20


@dataclass(frozen=True)
class Figure:
    """A figure of a paper: `draw` gets shipped weights, a run, a sweep, or nothing, and returns a matplotlib figure.

    Attributes:
        name: stem of the file.
        says: caption, one sentence.
        source: the figure of the paper, or what it adds to it.
        draw: may return a Film, which is saved as a GIF too.
        weights: tags of the weights that `draw` gets.
        recipes: shell patterns of the recipes whose run `draw` gets, after `zoo train`.
        sweeps: shell patterns of the recipes whose `Sweep` it gets, after `zoo sweep`.
    """

    name: str
    says: str
    source: str
    draw: Callable[..., Canvas | Film]
    weights: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    sweeps: tuple[str, ...] = ()


def axes(rows: int = 1, cols: int = 1, width: float | None = None, height: float | None = None) -> tuple[Canvas, Any]:
    """A figure and its axes in the house style; sizes in inches. One panel gives one Axes, several an array."""
    matplotlib.rcParams.update(STYLE)
    canvas = Canvas(figsize=(width or 3.6 * cols, height or 2.9 * rows), layout="constrained")
    return canvas, canvas.subplots(rows, cols)


def save(drawn: Canvas | Film, folder: Path, name: str, suffixes: Sequence[str] = ("svg", "png", "gif")) -> list[Path]:
    """Writes `<name>.svg`, `<name>.png` (150 dots per inch) and, of a film, `<name>.gif` into `folder`, or some of them."""
    matplotlib.rcParams.update(STYLE)
    contents = {}
    if isinstance(drawn, Film) and "gif" in suffixes:
        contents["gif"] = animation(drawn)
    canvas = drawn.canvas if isinstance(drawn, Film) else drawn
    if engine := canvas.get_layout_engine():
        engine.execute(canvas)
        canvas.set_layout_engine(None)  # or `savefig` would draw everything once more for each format, to lay it out
    for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        if suffix not in suffixes:
            continue
        content = io.BytesIO()
        canvas.savefig(content, format=suffix, dpi=150, metadata=metadata)
        contents[suffix] = content.getvalue()
    paths = []
    for suffix in ("svg", "png", "gif"):
        if suffix in contents:
            path = folder / f"{name}.{suffix}"
            with write_beside(path) as beside:
                beside.write_bytes(contents[suffix])
            paths.append(path)
    return paths


def animation(film: Film) -> bytes:
    """The film as an endless GIF of one palette (100 dots per inch), which rests for a second on its last frame."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    agg = FigureCanvasAgg(film.canvas)
    film.canvas.set_dpi(100)
    film.show(film.frames - 1)
    agg.draw()
    film.canvas.set_layout_engine("none")  # made once: every frame would cost three times as much, and tremble
    frames = []
    for i in range(film.frames):
        film.show(i)
        agg.draw()
        frames.append(Image.frombuffer("RGBA", agg.get_width_height(), agg.buffer_rgba()).convert("RGB"))
    some = frames[:: max(1, len(frames) // 6)] + frames[-1:]
    montage = Image.new("RGB", (frames[0].width, frames[0].height * len(some)))
    for i, frame in enumerate(some):
        montage.paste(frame, (0, i * frame.height))
    palette = montage.quantize(128)
    still = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [1000 // film.fps] * (film.frames - 1) + [1000]
    content = io.BytesIO()
    still[0].save(content, "GIF", save_all=True, append_images=still[1:], duration=durations, loop=0, optimize=False)
    return content.getvalue()


def shipped_subjects(system: System, figure: Figure) -> Iterator[tuple[str, list[Any]]]:
    """What a figure can be drawn from without training: a file name and the arguments of `draw`, for each drawing."""
    from zoo.history import Run
    from zoo.sweeps import Sweep
    from zoo.weights import load

    if not figure.recipes and not figure.sweeps:
        yield figure.name, [load(f"{system.name}.{tag}") for tag in figure.weights]
    for path in sorted((system.folder / "weights").glob("*.parquet"), key=lambda path: natural(path.stem)):
        if any(fnmatch(path.stem, pattern) for pattern in figure.recipes):
            yield f"{figure.name}_{path.stem}", [Run.shipped(f"{system.name}.{path.stem}")]
    for path in sorted(sweep_tables(system).glob("*.parquet")):
        if any(fnmatch(path.stem, pattern) for pattern in figure.sweeps):
            yield f"{figure.name}_{path.stem}", [Sweep.read(path)]


def sweep_tables(system: System) -> Path:
    """The folder of a system's shipped sweeps, one `<recipe>.parquet` each."""
    return system.folder / "sweeps"
