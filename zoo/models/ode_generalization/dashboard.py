"""What W&B shows of the generalisation of residual nets: the gap, and the Lipschitz constant of the layers."""

from zoo.dashboards.spec import Dashboard, Lines, Section, learning

DASHBOARD = Dashboard(
    "ode_generalization",
    (
        Section(
            "Generalisation",
            (
                Lines("Gap of validation and running loss", ("gap",), band=True),
                Lines("Gap of validation and training loss", ("gap_after",), band=True),
                Lines("Gap against the Lipschitz constant", ("gap_after",), x="lipschitz", log_x=True),
            ),
        ),
        learning(band=True),
        Section(
            "Losses without the penalty", (Lines("Training", ("running_loss", "train_loss"), band=True, log_y=True),)
        ),
        Section(
            "Layers",
            (
                Lines("Lipschitz constant along depth", ("lipschitz", "signed_lipschitz"), band=True, log_y=True),
                Lines("Frobenius penalty", ("roughness",), band=True, log_y=True),
            ),
        ),
    ),
    compared={
        "free layers": ("digits", "mnist", "mnist_full"),
        "tied layers": ("digits_tied", "mnist_tied"),
        "trained projections": ("digits_trained", "mnist_trained"),
    },
)
