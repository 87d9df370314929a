"""What W&B shows of attention as a memory: associations stored, next-token laws, language models beside n-grams."""

from zoo.dashboards.spec import Dashboard, Lines, Section

TABLES = ("table", "dimension", "*head_size", "circle", "wide", "mlp")
TEXTS = ("markov", "wikitext2", "wikitext103")

DASHBOARD = Dashboard(
    "attention_memorizer",
    (
        Section(
            "Look-up tables",
            (
                Lines("Associations recalled", ("recall",), band=True, recipes=TABLES),
                Lines("Running accuracy", ("accuracy",), band=True, recipes=TABLES),
                Lines("Cross-entropy", ("loss",), band=True, log_y=True, recipes=TABLES),
            ),
        ),
        Section(
            "Next-token laws",
            (
                Lines("Divergence from random laws", ("loss",), band=True, log_y=True, recipes=("laws",)),
                Lines(
                    "Divergence from the laws of a text",
                    ("divergence",),
                    theory=("best_rank", "constructed"),
                    log_y=True,
                    recipes=("wikitext2_laws",),
                ),
                Lines("Cross-entropy on the laws of a text", ("loss",), recipes=("wikitext2_laws",)),
            ),
        ),
        Section(
            "Language models",
            (
                Lines(
                    "Perplexity beside n-grams",
                    ("perplexity", "val_perplexity"),
                    theory=("unigram_perplexity", "bigram_perplexity"),
                    log_y=True,
                    recipes=TEXTS,
                ),
                Lines(
                    "Perplexity beside a trigram and Kneser-Ney",
                    ("val_perplexity",),
                    theory=("trigram_perplexity", "kneser_ney_perplexity"),
                    log_y=True,
                    recipes=("wikitext*[23]",),
                ),
                Lines("Loss in nats", ("loss", "val_loss"), recipes=TEXTS),
                Lines("Excess over the exact law", ("excess", "val_excess"), log_y=True, recipes=("markov",)),
                Lines(
                    "Perplexity over the exact floor",
                    ("val_perplexity",),
                    theory=("floor_perplexity",),
                    log_y=True,
                    recipes=("markov",),
                ),
            ),
        ),
    ),
    compared={"tables": ("table", "wide", "mlp"), "laws": ("laws", "wikitext2_laws"), "texts": TEXTS},
)
