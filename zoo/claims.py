"""Claims: checkable statements of a paper, each with the function that measures it, and their verdicts.

A claim has one of three ranks. *theory*: computed from formulas alone. *weights*: recomputed from shipped weights.
*training*: a recipe is trained again. A claim that does not hold is shown as `differs`, never dropped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from zoo import registry
from zoo.files import write_json
from zoo.history import NotMeasured, Run
from zoo.registry import System, ZooError
from zoo.weights import Weight, load, read_record

Rank = Literal["theory", "weights", "training"]
Kind = Literal["exact", "bound", "rate", "monte-carlo", "table", "figure"]
RANKS: tuple[Rank, ...] = get_args(Rank)
CLAIM_KINDS: tuple[Kind, ...] = get_args(Kind)


class Skip(Exception):
    """Raised by a measurement that cannot be made here; says why."""


@dataclass(frozen=True)
class Near:
    """Every measured value is within a tolerance of the expected one; the tolerance is absolute or relative."""

    values: float | Sequence[float]
    absolute: float | None = None
    relative: float | None = None

    def met(self, now: Sequence[float]) -> bool:
        expected = _listed(self.values)
        if len(expected) != len(now):
            raise ValueError(f"The claim expects {len(expected)} values, its measurement gave {len(now)}.")
        margins = [self.absolute if self.absolute is not None else (self.relative or 0.0) * abs(e) for e in expected]
        return all(abs(n - e) <= margin for n, e, margin in zip(now, expected, margins, strict=True))

    @property
    def expected(self) -> Any:
        return self.values if isinstance(self.values, (int, float)) else list(self.values)

    @property
    def tolerance(self) -> str:
        return f"± {self.absolute:g}" if self.absolute is not None else f"± {100 * (self.relative or 0):g} %"


@dataclass(frozen=True)
class AtLeast:
    """Every measured value is at least `value`."""

    value: float

    def met(self, now: Sequence[float]) -> bool:
        return all(n >= self.value for n in now)

    @property
    def expected(self) -> str:
        return f"≥ {self.value:g}"

    tolerance = ""


@dataclass(frozen=True)
class AtMost:
    """Every measured value is at most `value`."""

    value: float

    def met(self, now: Sequence[float]) -> bool:
        return all(n <= self.value for n in now)

    @property
    def expected(self) -> str:
        return f"≤ {self.value:g}"

    tolerance = ""


@dataclass(frozen=True)
class Between:
    """Every measured value lies in [low, high]."""

    low: float
    high: float

    def met(self, now: Sequence[float]) -> bool:
        return all(self.low <= n <= self.high for n in now)

    @property
    def expected(self) -> str:
        return f"{self.low:g} … {self.high:g}"

    tolerance = ""


@dataclass(frozen=True)
class Measured:
    """A measurement with its uncertainty: n samples and an interval."""

    value: float | Sequence[float]
    interval: tuple[float, float] | None = None
    n: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Retrain:
    """A training that a claim needs: a recipe of its system and what is changed in it."""

    recipe: str
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """One checkable statement of a paper.

    Attributes:
        id: the same in every table, "C4".
        says: one sentence.
        source: theorem, equation, figure or table of the paper; says so where the expected value is not the paper's.
        expected: `Near`, `AtLeast`, `AtMost` or `Between`.
        seconds: about, on two cores.
        measure: gets the weights (rank weights) or the runs (rank training) in their order; returns a number, several
            numbers or a `Measured`.
    """

    id: str
    says: str
    source: str
    kind: Kind
    expected: Near | AtLeast | AtMost | Between
    seconds: float
    measure: Callable[..., Any]
    rank: Rank
    weights: tuple[str, ...] = ()
    runs: tuple[Retrain, ...] = ()

    @property
    def subject(self) -> str:
        """The weights or recipes that the claim is about, for tables."""
        names = self.weights if self.rank == "weights" else tuple(dict.fromkeys(run.recipe for run in self.runs))
        return names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}" if names else ""


@dataclass
class Verdict:
    """The outcome of a claim: "holds", "differs" or "skipped(reason)"."""

    system: str
    claim: Claim
    verdict: str
    now: list[float] | None
    card: dict[str, Any] | None
    seconds: float
    interval: tuple[float, float] | None = None
    n: int | None = None
    note: str = ""

    @property
    def agrees(self) -> bool:
        """Whether this is also what the record says; a skipped claim and one without a record contradict nothing."""
        return self.card is None or self.verdict.startswith("skipped") or self.verdict == self.card["verdict"]

    def row(self) -> dict[str, Any]:
        """The twelve keys of `zoo verify --json`, in order."""
        return {
            "system": self.system,
            "weight": self.claim.subject,
            "claim": self.claim.id,
            "rank": self.claim.rank,
            "kind": self.claim.kind,
            "source": self.claim.source,
            "expected": self.claim.expected.expected,
            "tolerance": self.claim.expected.tolerance,
            "card": self.card["now"] if self.card else None,
            "now": _plain(self.now),
            "verdict": self.verdict,
            "seconds": round(self.seconds, 2),
        }

    def entry(self) -> dict[str, Any]:
        """What a record keeps."""
        entry = {
            "claim": self.claim.id,
            "says": self.claim.says,
            "weights": list(self.claim.weights),
            "rank": self.claim.rank,
            "kind": self.claim.kind,
            "source": self.claim.source,
            "expected": self.claim.expected.expected,
            "tolerance": self.claim.expected.tolerance,
            "now": _plain(self.now),
            "verdict": self.verdict,
        }
        extras = {"interval": list(self.interval) if self.interval else None, "n": self.n, "note": self.note}
        return entry | {key: value for key, value in extras.items() if value}


def measure(system: str, claim: Claim, subjects: Sequence[Any], card: dict[str, Any] | None = None) -> Verdict:
    """Measures one claim on its weights or runs; an expected number that is missed gives `differs`, never an error."""
    start = time.perf_counter()
    try:
        result = claim.measure(*subjects)
    except (Skip, NotMeasured) as reason:  # a run that was cut short does not have every step
        return Verdict(system, claim, f"skipped({reason})", None, card, time.perf_counter() - start)
    if not isinstance(result, Measured):
        result = Measured(result)
    now = _listed(result.value)
    holds = all(map(math.isfinite, now)) and claim.expected.met(now)
    seconds = time.perf_counter() - start
    verdict = "holds" if holds else "differs"
    return Verdict(system, claim, verdict, now, card, seconds, result.interval, result.n, result.note)


def verify(
    names: Sequence[str] = (),
    ranks: Sequence[str] = ("theory", "weights"),
    train: Callable[[str, Retrain], Run] | None = None,
) -> Iterator[Verdict]:
    """Recomputes the claims of systems or weights, one verdict at a time.

    Args:
        names: systems ("single_location") or weights ("single_location.manifold"); every system if empty.
        ranks: which ranks to measure.
        train: trains a recipe of a system again; needed for the rank training only.

    Raises:
        ZooError: an unknown name or rank.
    """
    for rank in ranks:
        if rank not in RANKS:
            raise ZooError(f"There is no rank {rank!r} among {', '.join(RANKS)}{registry.nearest(rank, RANKS)}")
    loaded: dict[str, Weight] = {}
    trained: dict[str, Run] = {}
    for system, tag in _selected(names):
        shipped = {name.split(".")[1] for name in registry.weight_files() if name.startswith(f"{system.name}.")}
        cards = Cards(system)
        for claim in system.part("claims").CLAIMS:
            if claim.rank not in ranks or (tag and tag not in claim.weights):
                continue
            subjects: list[Any] = []
            card = cards.find(claim)
            missing = [one for one in claim.weights if one not in shipped]
            if missing:
                yield Verdict(system.name, claim, f"skipped(no weight {', '.join(missing)})", None, card, 0.0)
                continue
            start = time.perf_counter()
            for one in claim.weights:
                name = f"{system.name}.{one}"
                if name not in loaded:
                    loaded[name] = load(name)
                subjects.append(loaded[name])
            if claim.rank == "training":
                if train is None:
                    raise ZooError("Claims of rank training train recipes again: use `zoo verify --rank training`.")
                for one in claim.runs:
                    key = f"{system.name}/{one.recipe} {sorted(one.overrides.items())}"
                    if key not in trained:
                        trained[key] = train(system.name, one)
                    subjects.append(trained[key])
            verdict = measure(system.name, claim, subjects, card)
            verdict.seconds = time.perf_counter() - start
            yield verdict


def of_run(run: Run) -> Iterator[Verdict]:
    """Measures the claims that one run can decide: those about its weight alone, and those about its recipe alone."""
    for claim in registry.system(run.system).part("claims").CLAIMS:
        if claim.weights == (run.tag,):
            yield measure(run.system, claim, [run.weight])
        elif claim.runs == (Retrain(run.tag),):
            yield measure(run.system, claim, [run])


class Cards:
    """The recorded verdicts of a system: in the record of the one weight a claim is about, else in verdicts.json."""

    def __init__(self, system: System):
        self.system = system
        self.path = system.folder / "verdicts.json"
        entries = registry.read_json(self.path) if self.path.exists() else []
        for name, path in registry.weight_files().items():
            if name.startswith(f"{system.name}."):
                entries += registry.read_json(path)["claims"]
        self._entries = {(entry["claim"], *entry["weights"]): entry for entry in entries}

    def find(self, claim: Claim) -> dict[str, Any] | None:
        return self._entries.get((claim.id, *claim.weights))

    def write(self, verdicts: Sequence[Verdict]) -> list[Path]:
        """Records verdicts (skipped ones leave what stands) and returns the files that changed."""
        import dataclasses

        decided = [verdict for verdict in verdicts if verdict.now is not None]
        self._entries |= {(v.claim.id, *v.claim.weights): v.entry() for v in decided}
        order = {(c.id, *c.weights): i for i, c in enumerate(self.system.part("claims").CLAIMS)}
        known = sorted((key for key in self._entries if key in order), key=order.__getitem__)
        changed = []
        shared = [self._entries[key] for key in known if len(key) != 2]
        if not self.path.exists() or registry.read_json(self.path) != shared:
            write_json(self.path, shared)
            changed.append(self.path)
        for name, path in registry.weight_files().items():
            if name.startswith(f"{self.system.name}."):
                record = read_record(path)
                claims = [self._entries[key] for key in known if key[1:] == (record.tag,)]
                if claims != record.claims:
                    write_json(path, dataclasses.asdict(dataclasses.replace(record, claims=claims)))
                    changed.append(path)
        return changed


def _selected(names: Sequence[str]) -> list[tuple[System, str]]:
    chosen = []
    for name in names or list(registry.systems()):
        if "." in name:
            registry.weight_file(name)
        system, _, tag = name.partition(".")
        chosen.append((registry.system(system), tag))
    return chosen


def _listed(values: Any) -> list[float]:
    return [float(v) for v in values] if hasattr(values, "__iter__") else [float(values)]


def _plain(values: list[float] | None) -> Any:
    """Six significant digits, so that a record does not change with the last bit of a machine; one value stands alone."""
    if values is None:
        return None
    rounded = [float(f"{value:.6g}") if math.isfinite(value) else str(value) for value in values]
    return rounded[0] if len(rounded) == 1 else rounded
