"""What larger step sizes do to the attention of an encoder trained on WikiText-2 (Figure 10).

Weights are measured on the validation set in $ZOO_DATA/wikitext-2; training again needs the training set too.
"""

from __future__ import annotations

import math

import torch

from datamodules.corpus import Held, Vocabulary, every_token_once
from zoo.claims import AtLeast, AtMost, Claim, Measured, Near, Retrain
from zoo.history import Run
from zoo.models.scan_and_snap.text_network import held_out
from zoo.weights import Weight
from zoo.wikitext import wikitext2

RATES = (1, 3, 5)
WEIGHTS = tuple(f"wikitext2_lr{rate}" for rate in RATES)
ALL_RATES = (1, 2, 3, 4, 5)

_MEASURED: dict[str, tuple[float, float]] = {}  # two claims read one pass


def validation(weight: Weight) -> tuple[float, float]:
    """Loss and attention entropy on the validation set of WikiText-2, nats per predicted token."""
    key = weight.record.sha256
    if key not in _MEASURED:
        data = weight.record.recipe["data"]["init_args"]
        vocabulary = Vocabulary.from_tensor(weight.task["vocabulary"][0])
        tokens = wikitext2(vocabulary, "valid", basic_english=data["basic_english"])
        network = weight.network.one(0)
        loss = entropy = 0.0
        batches = Held(every_token_once(tokens, data["context"], data["batch_size"]))
        for batch in batches:
            losses, entropies = held_out(network, batch)
            loss += (losses.double().sum() * batch["weight"]).item() / len(batches)
            entropy += (entropies.double().sum() * batch["weight"]).item() / len(batches)
        _MEASURED[key] = loss, entropy
    return _MEASURED[key]


def falls(*weights: Weight) -> Measured:
    """What each larger step size takes off the validation entropy."""
    entropies = [validation(weight)[1] for weight in weights]
    return Measured([a - b for a, b in zip(entropies, entropies[1:], strict=False)], note=_said(entropies))


def slope(*runs: Run) -> Measured:
    """Slope of the least-squares line of the validation entropy against the step size.

    From one validation of a run to the next the entropy moves by 0.1 or more, so a run's value is the mean over those of its
    second half.
    """
    rates = torch.tensor([run.recipe["model"]["init_args"]["lr"] for run in runs], dtype=torch.float64)
    late = [run.history.steps * 2 >= run.history.steps[-1] for run in runs]
    entropies = torch.stack(
        [run.history["val_entropy"][rows, 0].nanmean() for run, rows in zip(runs, late, strict=True)]
    )
    centred = rates - rates.mean()
    return Measured((centred @ entropies / centred.square().sum()).item(), note=_said(entropies.tolist()))


def _said(entropies: list[float]) -> str:
    return f"entropies {', '.join(f'{value:.3f}' for value in entropies)} nats"


def recomputed(weight: Weight) -> list[float]:
    """Validation perplexity and attention entropy over those that the record has."""
    loss, entropy = validation(weight)
    return [math.exp(loss) / weight.record.metrics["val_perplexity"], entropy / weight.record.metrics["val_entropy"]]


TEXT_CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="C14",
        says="On WikiText-2 each larger step size of SGD (1, 3, 5) gives a smaller attention entropy: its falls, nats.",
        source="Figure 10; its numbers are not given",
        kind="figure",
        expected=AtLeast(0.0),
        seconds=20,
        measure=falls,
        rank="weights",
        weights=WEIGHTS,
    ),
    *(
        Claim(
            id="W1",
            says="The validation perplexity and attention entropy of the record are measured again (ratios).",
            source="measured here",
            kind="exact",
            expected=Near([1.0, 1.0], relative=1e-4),
            seconds=6,
            measure=recomputed,
            rank="weights",
            weights=(tag,),
        )
        for tag in WEIGHTS
    ),
    Claim(
        id="C14t",
        says="Trained again with the step sizes 1, 2, 3, 4, 5: the attention entropy's slope against them, nats per unit.",
        source="Figure 10; its numbers are not given",
        kind="figure",
        expected=AtMost(0.0),
        seconds=600,
        measure=slope,
        rank="training",
        runs=tuple(Retrain("wikitext2", {"model.lr": rate}) for rate in ALL_RATES),
    ),
)
