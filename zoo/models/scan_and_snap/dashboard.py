"""What W&B shows of scan and snap: where the attention goes, the bounds on its growth, and text."""

from zoo.dashboards.spec import Dashboard, Lines, Section, learning

TRAINED, FLOW, TEXTS = ("syn_*",), ("reduced_flow",), ("wikitext*",)

DASHBOARD = Dashboard(
    "scan_and_snap",
    (
        Section(
            "Attention",
            (
                Lines("Entropy on the distinct tokens", ("entropy",), band=True),
                Lines("Mass on the common tokens", ("common_mass",), band=True, recipes=TRAINED + FLOW),
                Lines("Mass on the most frequent distinct token", ("top",), band=True, recipes=TRAINED + FLOW),
            ),
        ),
        Section(
            "Reduced flow",
            (
                Lines("Growth chi between its bounds", ("chi",), theory=("chi_low", "chi_high"), recipes=FLOW),
                Lines("Error of the ratio of growths", ("ratio_error",), log_y=True, recipes=FLOW),
                Lines("Speed gamma", ("gamma",), log_y=True, recipes=FLOW),
                Lines("Integral B", ("B",), recipes=FLOW),
            ),
        ),
        learning(validation=False, band=True, recipes=TRAINED),
        Section(
            "Text",
            (
                Lines("Perplexity", ("perplexity", "val_perplexity"), log_y=True, recipes=TEXTS),
                Lines("Loss in nats", ("loss", "val_loss"), recipes=TEXTS),
                Lines("Entropy on the validation text", ("val_entropy",), recipes=TEXTS),
            ),
        ),
    ),
    compared={
        "SGD": ("syn_small", "syn_small_fast_decoder", "syn_medium"),
        "Adam": ("syn_small_adam",),
        "text": ("wikitext2", "wikitext2_paper", "wikitext103"),
    },
    left_out={"c_*": "the attention on every single token of class 0, which the figure attention patterns draws"},
)
