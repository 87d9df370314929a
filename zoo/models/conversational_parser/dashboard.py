"""What W&B shows of the conversational parser: learning, forms that run, accuracy by type of question, ranked answers."""

from zoo.dashboards.spec import Bars, Dashboard, Lines, Section

TYPES = ("direct", "coref", "logical", "verification")
RARE = ("ellipsis", "quantitative", "comparative", "quantitative_count", "comparative_count", "clarification")
OVERALL = ("overall", "overall_official", "exact", "not_executable")


def scores(split: str, title: str, recipe: str) -> tuple[Bars, Bars]:
    def of(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{split}_{name}" for name in names)

    return (
        Bars(f"Accuracy by type, {title}", of(TYPES), of(RARE), recipes=(recipe,)),
        Bars(f"All questions, {title}", of(OVERALL), recipes=(recipe,)),
    )


def ranks(split: str) -> Bars:
    names = tuple(f"{split}_{name}{turns}" for turns in ("", "_later") for name in ("p1", "mrr", "hit5"))
    return Bars(f"Ranked answers, {split}, with turn 0 and without", (), names, recipes=("convquestions",))


DASHBOARD = Dashboard(
    "conversational_parser",
    (
        Section(
            "Learning",
            (
                Lines("Loss in nats per token", ("loss", "val_loss"), log_y=True),
                Lines("Right answers and exact forms", ("val_accuracy", "val_exact")),
                Lines("Forms that could not be executed", ("val_failed",)),
                Lines("Step size", ("step_size",)),
            ),
        ),
        Section(
            "Generated dialogues",
            scores("A", "known names and facts", "synthetic*") + scores("B", "other names and facts", "synthetic*"),
        ),
        Section(
            "CSQA",
            scores("valid", "all of the sample's validation set", "csqa_sample")
            + scores("valid_answerable", "what the sample's graph can answer", "csqa_sample")
            + scores("test", "test set", "csqa"),
        ),
        Section("ConvQuestions, on a graph that is given", (ranks("dev"), ranks("test"))),
    ),
    compared={"gold forms": ("synthetic",), "searched forms": ("synthetic_silver",), "hard": ("synthetic_hard",)},
)
