"""What W&B shows of recurrent nets as kernel machines: learning, and the norms that bound robustness."""

from zoo.dashboards.spec import Dashboard, Lines, Section, learning

DASHBOARD = Dashboard(
    "rnn_signature",
    (
        learning(band=True),
        Section(
            "Norms",
            (
                Lines("Squared norm in the signature space", ("norm",), band=True, log_y=True),
                Lines("The same as the authors' code has it", ("code_norm",), band=True, log_y=True),
                Lines("Frobenius norm of the weights", ("frobenius",), band=True),
            ),
        ),
    ),
    compared={"plain": ("spirals",), "penalised": ("spirals_penalized", "spirals_code")},
)
