"""How much memory a computation takes at most, measured from the allocations that PyTorch reports."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

from torch.profiler import ProfilerActivity, profile


def peak_memory(function: Callable[[], Any]) -> int:
    """Bytes that tensors allocated inside `function` take on the CPU at most at one time, its result included."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        result = function()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    del result
    ordered = sorted(events, key=lambda event: event.start_ns())
    return max(accumulate((event.nbytes() for event in ordered), initial=0))
