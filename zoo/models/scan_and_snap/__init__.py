"""Scan and snap: what one attention layer and its decoder do in training, token by token."""

from zoo.registry import Paper, System

HERE = "zoo.models.scan_and_snap"

SYSTEM = System(
    name="scan_and_snap",
    title="Scan and snap",
    summary="In a one-layer transformer attention leaves the tokens that are common to many next tokens, moves to the "
    "most frequent distinct ones, and freezes before it is one-hot.",
    paper=Paper(
        title="Scan and Snap: Understanding Training Dynamics and Token Composition in 1-layer Transformer",
        authors="Yuandong Tian, Yiping Wang, Beidi Chen, Simon S. Du",
        venue="NeurIPS",
        year=2023,
        arxiv="2305.16380",
        code="https://github.com/facebookresearch/luckmatters",
        code_licence="CC BY-NC 4.0",
    ),
    topic="attention",
    networks={
        "OneLayerTransformer": f"{HERE}.network:OneLayerTransformer",
        "PostNormEncoder": f"{HERE}.text_network:PostNormEncoder",
    },
    default="OneLayerTransformer",
    examples={
        "OneLayerTransformer": {"vocabulary": 34},
        "PostNormEncoder": {"vocabulary": 50, "dim": 16, "hidden": 16},
    },
    modules=(f"{HERE}.module", f"{HERE}.text_module"),
)
