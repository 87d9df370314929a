"""What W&B shows of single-location regression: the risk, the recovery of both directions, the schedule."""

from zoo.dashboards.spec import Dashboard, Lines, Section

DASHBOARD = Dashboard(
    "single_location",
    (
        Section(
            "Risk",
            (
                Lines("Excess risk", ("excess_risk",), band=True, log_y=True),
                Lines("Distance to the invariant manifold", ("distance",), band=True),
                Lines("Excess risk against lambda", ("excess_risk",), x="lam", log_x=True, log_y=True),
            ),
        ),
        Section(
            "Recovery",
            (
                Lines("Alignment of the query, kappa", ("kappa",), band=True),
                Lines("Alignment of the value, nu", ("nu",), band=True),
                Lines("Cross terms", ("theta", "eta", "rho"), band=True),
            ),
        ),
        Section("Schedule", (Lines("Inverse temperature lambda", ("lam",), band=True),)),
    ),
    compared={
        "population": ("manifold", "sphere_small_lambda", "sphere_large_lambda", "sphere_schedule"),
        "samples": ("sgd", "sgd_full", "softmax"),
    },
)
