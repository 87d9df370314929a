"""What W&B shows of residual nets that stay neural ODEs: the fit, and how smooth the layers are along depth."""

from zoo.dashboards.spec import Dashboard, Lines, Section, learning

DENSE = ("clipped", "finite_time*", "limits", "long_time*")
IMAGES = ("cifar_*",)


def smoothness(title: str, parts: str, recipes: tuple[str, ...]) -> tuple[Lines, Lines]:
    return (
        Lines(
            f"Largest jump between layers, {title}", tuple(f"jump_{one}" for one in parts), log_y=True, recipes=recipes
        ),
        Lines(
            f"Roughness along depth, {title}", tuple(f"roughness_{one}" for one in parts), log_y=True, recipes=recipes
        ),
    )


DASHBOARD = Dashboard(
    "neural_ode_resnet",
    (
        Section("Gradient flow", (Lines("Risk", ("risk", "loss"), log_x=True, log_y=True, recipes=DENSE),)),
        learning(band=False, recipes=IMAGES),
        Section(
            "Smoothness along depth",
            (
                *smoothness("dense layers", "VW", DENSE),
                Lines("Sum of squared jumps", ("squares_V", "squares_W"), log_y=True, recipes=DENSE),
                Lines("Largest norm of a layer", ("norm_V", "norm_W"), recipes=DENSE),
                *smoothness("kernels", "12", IMAGES),
            ),
        ),
    ),
    compared={
        "tied start": ("long_time", "cifar_tied", "cifar_small_tied"),
        "independent start": ("long_time_iid", "cifar_iid", "cifar_small_iid"),
    },
)
