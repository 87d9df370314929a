"""What W&B shows of the dynamics of tokens: energy, clusters, inner products; and an encoder that is trained."""

from zoo.dashboards.spec import Dashboard, Lines, Section

TOKENS, TRAINED = ("[!e]*",), ("encoder",)

DASHBOARD = Dashboard(
    "self_attention_dynamics",
    (
        Section(
            "Tokens",
            (
                Lines("Mean energy", ("mean_energy",), band=True, recipes=TOKENS),
                Lines("Clusters", ("clusters",), band=True, recipes=TOKENS),
                Lines("Share of merged pairs", ("merged",), band=True, recipes=TOKENS),
                Lines("Mean inner product", ("mean_product",), band=True, recipes=TOKENS),
                Lines("Least inner product", ("min_product",), band=True, recipes=TOKENS),
            ),
        ),
        Section(
            "Encoder",
            (
                Lines("Risk beside the Bayes predictor", ("loss",), theory=("raw", "informed"), recipes=TRAINED),
                Lines("Inverse temperature beta", ("beta",), recipes=TRAINED),
                Lines("Step size", ("step_size",), recipes=TRAINED),
                Lines("Asymmetry of the value matrix", ("asymmetry",), recipes=TRAINED),
            ),
        ),
    ),
    compared={
        "circle": ("circle", "kinetic", "staircase"),
        "spheres": ("sphere", "high_dimension"),
        "trained": TRAINED,
    },
)
