"""Training of the parser on forms of questions (`ParsingData`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.dialogues import Pair
from datamodules.parsing import ConvQuestionsParsingData
from datamodules.stream import generator
from zoo.knowledge.context import Vocabulary
from zoo.knowledge.executor import Executor, Value
from zoo.knowledge.grammar import Apply, Form
from zoo.models.conversational_parser.decoding import Automaton
from zoo.models.conversational_parser.evaluation import (
    Evaluation,
    answer_matches,
    beside_published,
    executed,
    final_scores,
)
from zoo.models.conversational_parser.network import END, Dropout, StructuredParser
from zoo.models.conversational_parser.parser import automaton, decoded, trimmed
from zoo.models.conversational_parser.published import CLARIFICATION
from zoo.models.conversational_parser.rankings import Rankings, final_rankings
from zoo.registry import ZooError
from zoo.training import ZooModule


class FormTraining(ZooModule):
    """AdamW with warm-up and linear decay on the cross entropy of a form's tokens, teacher forcing.

    The history holds `loss` in nats per token, `step_size` and, on held-out questions decoded greedily, `val_loss` (where there is a
    form), `val_accuracy`: the share of questions whose executed form gives exactly the annotated answer, `val_exact`: the
    share with exactly the annotated form, and `val_failed`: forms that could not be executed. At the end come the scores of the
    test splits, `B_coref`, `B_overall`, … (`Evaluation.metrics`; of ConvQuestions `dev_p1`, `dev_mrr`, `dev_hit5`), and tables are
    printed; answers to ConvQuestions are written to `asked_<split>.jsonl` in the run's directory.

    Args:
        dim, width, heads, layers, decoder_layers, places, flat: of `StructuredParser`; the data say the rest.
        dropout: after the embeddings and on what each sublayer adds.
        lr: largest step size, reached after `warmup` steps; falls linearly to `lr_end` times that at the trainer's max_steps.
        weight_decay: of AdamW. clip: largest norm of a gradient.
        tests: dialogues of each test split that are scored at the end; 0 for none.

    Raises:
        ValueError: several replicas or compiled steps (a step is not bound by overhead, and its lengths change).
    """

    system = "conversational_parser"
    headline = "loss"
    threads = None  # matrix products large enough for every core

    def __init__(
        self,
        *,
        dim: int = 96,
        width: int = 192,
        heads: int = 4,
        layers: int = 2,
        decoder_layers: int = 2,
        places: int = 128,
        flat: bool = False,
        dropout: float = 0.1,
        lr: float = 1e-3,
        lr_end: float = 0.02,
        warmup: int = 200,
        weight_decay: float = 0.01,
        clip: float = 1.0,
        tests: int = 240,
        chunk: int = 1,
        **options: Any,
    ):
        super().__init__(chunk=chunk, **options)
        if self.replicas != 1:
            raise ValueError(f"A parser trains one replica, got {self.replicas}: train seeds in separate runs.")
        if self.compiled:
            raise ValueError(
                "A parser's steps have lengths of their own, so compiling them does not pay: compile=false."
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}.")
        self.save_hyperparameters()
        self._automaton: Automaton | None = None
        self._executor: Executor | None = None

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        settings = json.loads(bytes(task["settings"].numpy()))
        if settings["length"] >= self.hparams["places"]:
            raise ZooError(f"data.length {settings['length']} must be below model.places {self.hparams['places']}.")
        shape = ("dim", "width", "heads", "layers", "decoder_layers", "places", "flat")
        sizes = {name: settings[name] for name in ("entities", "numbers", "longest")} | {
            "token_width": settings["width"]
        }
        sizes |= Vocabulary.from_bytes(bytes(task["vocabulary"].numpy())).sizes
        return StructuredParser(**{name: self.hparams[name] for name in shape}, **sizes, generator=generator)

    def loss(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        noise: dict[str, Any] = {}
        if self.hparams["dropout"]:
            key = generator(self.system, self.seed, "dropout", int(batch["step"]), self.global_rank)
            own = torch.Generator(self.device).manual_seed(key.initial_seed())
            noise["noise"] = Dropout(self.hparams["dropout"], own)
        batch = trimmed(batch)
        logits, targets = self._logits(network, batch, noise)
        return {"loss": F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)}

    def _logits(self, network: Any, batch: dict[str, Tensor], noise: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Logits (b, s, F + o) of the targets (b, s), each token read after the ones before it."""
        more = {name: batch[name] for name in ("vectors", "used") if name in batch}
        memory = network.encode(batch["text"], batch["objects"], batch["relations"], **more, **noise)
        targets = batch["target"]
        prefix = F.pad(targets[:, :-1].clamp(min=0), (1, 0), value=END)
        return network.decode(prefix, memory, **noise), targets

    def on_validation_start(self) -> None:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if self._executor is None:
            self._executor = Executor(data.context(data.validation_split).graph)

    def evaluate(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        context = data.context(data.validation_split)
        assert self._executor is not None
        batch = trimmed(batch)
        logits, targets = self._logits(network, batch, {})
        losses = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-1, reduction="none").double().sum(1)
        tokens = (targets >= 0).sum(1).clamp(min=1)
        rows: list[tuple[float, float, float]] = []
        if self._automaton is None:
            self._automaton = network.applied(automaton, context)
        for index, found in zip(batch["index"].tolist(), network.applied(decoded, batch, self._automaton), strict=True):
            one = data.held[index]
            form = context.decode(found[0].tokens, one.input)
            exact = one.target is not None and found[0].tokens == one.target[:-1]
            value = executed(form, self._executor)
            rows.append((is_right(form, value, one.pair), exact, value is None))
        accuracy, exact_form, failed = torch.tensor(rows, dtype=torch.float64, device=losses.device).sum(0)
        sums = {"loss": (losses / tokens).sum(), "accuracy": accuracy, "exact": exact_form, "failed": failed}
        return {f"val_{name}": value * batch["weight"] for name, value in sums.items()}

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        return {"step_size": torch.tensor(self.learning_rate(int(step)), dtype=torch.float64, device=step.device)}

    def on_train_end(self) -> None:
        super().on_train_end()
        data, step = self.trainer.datamodule, self.trainer.global_step  # type: ignore[attr-defined]
        if not self.hparams["tests"] or step < self.trainer.max_steps:  # of a run that was cut short nothing is final
            return
        network: Any = self.result()[0].one(0)
        most, finals = self.hparams["tests"], dict[str, Evaluation | Rankings]()
        if isinstance(data, ConvQuestionsParsingData):
            finals.update(final_rankings(network, data, most))
        else:
            finals.update(final_scores(network, data, most))
        for split, found in finals.items():
            prefix = split.replace(", ", "_") + "_"
            row = {name: torch.tensor([value], dtype=torch.float64) for name, value in found.metrics(prefix).items()}
            if row:
                self._add(step, row)
            if self.global_rank == 0:
                print(f"\n{split}: {data.linking} linking\n{found.text()}")
                if isinstance(found, Rankings):
                    found.write(Path(self.trainer.default_root_dir) / f"asked_{split}.jsonl")
                else:
                    print(f"\n{beside_published(found, 'this parser')}")

    def learning_rate(self, step: int) -> float:
        p: Any = self.hparams
        if step < p.warmup:
            return p.lr * (step + 1) / p.warmup
        share = min((step - p.warmup) / max(self.trainer.max_steps - p.warmup, 1), 1.0)
        return p.lr * (1 + share * (p.lr_end - 1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        p: Any = self.hparams
        parameters = list(self.parameters())
        optimiser = torch.optim.AdamW(parameters, lr=p.lr, weight_decay=p.weight_decay, fused=True)

        def clipped(*_: Any) -> None:
            torch.nn.utils.clip_grad_norm_(parameters, p.clip)

        optimiser.register_step_pre_hook(clipped)
        return optimiser


def is_right(form: Form, value: Value | None, pair: Pair) -> bool:
    """Whether a form's value is exactly the annotated answer, and a question is asked back exactly where it should be."""
    known = pair.answer.entities is not None or pair.answer.kind != "entities"
    asks_back = isinstance(form, Apply) and form.operator == "clarify"
    return known and answer_matches(value, pair.answer, asks_back, pair.type == CLARIFICATION)
