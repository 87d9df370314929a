"""What W&B shows of scaled residual nets: learning, and the regularity of the layers along depth."""

from zoo.dashboards.spec import Dashboard, Lines, Section, learning

DENSE = ("mnist_*", "cifar_grid*")

DASHBOARD = Dashboard(
    "scaled_resnet",
    (
        learning(band=True),
        Section(
            "Regularity along depth",
            (
                Lines("Total variation", ("variation",), band=True, log_y=True, recipes=DENSE),
                Lines("Jumps between layers", ("largest_jump", "mean_jump"), band=True, log_y=True, recipes=DENSE),
            ),
        ),
    ),
    compared={
        "regimes": ("mnist_smooth", "mnist_identity", "mnist_diffusion"),
        "grids": ("mnist_grid", "mnist_grid_full", "cifar_grid", "cifar_grid_full"),
        "convolutions": ("cifar_conv", "cifar_conv_ddp"),
    },
)
