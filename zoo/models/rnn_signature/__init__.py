"""Recurrent nets as kernel methods on signatures (Fermanian, Marion, Vert, Biau, NeurIPS 2021)."""

from zoo.registry import Paper, System

HERE = "zoo.models.rnn_signature"

SYSTEM = System(
    name="rnn_signature",
    title="Recurrent nets and signatures",
    summary="A residual recurrent net is, up to O(1/T), a linear function of the signature of its input path; the norm of "
    "that function is a formula of the weights, bounds generalisation and robustness, and can be a penalty.",
    paper=Paper(
        title="Framing RNN as a kernel method: a neural ODE approach",
        authors="Adeline Fermanian, Pierre Marion, Jean-Philippe Vert, Gérard Biau",
        venue="NeurIPS",
        year=2021,
        arxiv="2106.01202",
        code="https://github.com/afermanian/rnn-kernel",
        code_licence="Apache-2.0",
    ),
    topic="depth as time",
    networks={"ResidualRNN": f"{HERE}.network:ResidualRNN"},
    default="ResidualRNN",
    examples={"ResidualRNN": {"channels": 2, "width": 4, "classes": 2}},
    modules=(f"{HERE}.module",),
)
