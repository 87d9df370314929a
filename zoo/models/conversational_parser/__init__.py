"""Conversational questions over a knowledge graph, parsed to logical forms (Marion, Nowak & Piccinno, EMNLP 2021)."""

from zoo.registry import Paper, System

HERE = "zoo.models.conversational_parser"

SYSTEM = System(
    name="conversational_parser",
    title="Conversational semantic parser",
    summary="A Transformer reads a question, the pair before it and what the graph knows of their entities as one "
    "structure, and writes a logical form of a grammar that covers nearly every question; the graph answers.",
    paper=Paper(
        title="Structured Context and High-Coverage Grammar for Conversational Question Answering over Knowledge Graphs",
        authors="Pierre Marion, Paweł Krzysztof Nowak, Francesco Piccinno",
        venue="EMNLP",
        year=2021,
        arxiv="2109.00269",
    ),
    topic="semantic parsing",
    networks={"StructuredParser": f"{HERE}.network:StructuredParser"},
    default="StructuredParser",
    examples={
        "StructuredParser": {
            **{"words": 60, "properties": 6, "classes": 5, "operators": 25},
            **{"dim": 16, "width": 32, "heads": 2, "layers": 1, "decoder_layers": 1, "longest": 32},
        }
    },
    modules=(f"{HERE}.module",),
)
