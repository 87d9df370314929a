"""What W&B shows of deep linear networks: sharpness, where descent ends, and the shape of the layers."""

from zoo.dashboards.spec import Dashboard, Lines, Section

DASHBOARD = Dashboard(
    "deep_linear",
    (
        Section(
            "Sharpness",
            (
                Lines("Sharpness", ("sharpness",), band=True, log_y=True),
                Lines(
                    "Sharpness beside that of a minimum here",
                    ("sharpness",),
                    theory=("gauss_newton",),
                    log_y=True,
                    recipes=("[!g]*",),
                ),
                Lines("Runs that diverged", ("diverged",)),
            ),
        ),
        Section(
            "Regression",
            (
                Lines("Training loss", ("loss",), band=True, log_y=True),
                Lines("Squared distance to the target", ("distance",), band=True, log_y=True),
                Lines("Test loss", ("test_loss",), band=True, log_y=True, recipes=("gelu", "underdetermined")),
            ),
        ),
        Section(
            "Layers",
            (
                Lines("Second over first singular value", ("rank_ratio",), band=True, log_y=True),
                Lines("Alignment of neighbouring layers", ("alignment",), band=True),
                Lines("Drift of the balance", ("drift",), band=True, log_y=True),
            ),
        ),
    ),
    compared={"from noise": ("mlp", "small_scale", "gelu"), "from the identity": ("residual", "residual_trace")},
    left_out={
        "scale": "a setting of each replica; its mean over replicas says nothing",
        "lr": "a setting of each replica; its mean over replicas says nothing",
    },
)
