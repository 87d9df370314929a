"""Numbers of the authors' own runs, from their code's repository: the results behind Figure 6 and the log of Syn-Small.

Figure 6: entropy in nats of the attention on distinct tokens after 100 steps of SGD with momentum, mean and spread of
ten seeds, by number of queries (each with two next tokens), eta_Z and eta_Y/eta_Z.
"""

from __future__ import annotations

QUERIES = (1, 3, 5, 10)
ETA_Z = (0.5, 1.0, 2.0, 3.0)
RATIOS = (1.0, 2.0, 5.0, 10.0)

# ENTROPY[queries][i][j]: (mean, spread) at ETA_Z[i], RATIOS[j]
ENTROPY: dict[int, tuple[tuple[tuple[float, float], ...], ...]] = {
    1: (
        ((1.971, 0.028), (2.007, 0.032), (2.066, 0.017), (2.092, 0.016)),
        ((1.871, 0.052), (1.937, 0.052), (2.022, 0.036), (2.053, 0.030)),
        ((1.699, 0.101), (1.810, 0.099), (1.934, 0.068), (1.900, 0.200)),
        ((1.551, 0.155), (1.708, 0.152), (1.786, 0.170), (1.825, 0.331)),
    ),
    3: (
        ((2.019, 0.010), (1.988, 0.012), (2.031, 0.007), (2.063, 0.005)),
        ((1.963, 0.015), (1.920, 0.018), (1.982, 0.009), (2.024, 0.008)),
        ((1.842, 0.024), (1.809, 0.027), (1.899, 0.018), (1.955, 0.020)),
        ((1.737, 0.032), (1.715, 0.038), (1.821, 0.030), (1.839, 0.100)),
    ),
    5: (
        ((2.026, 0.005), (1.994, 0.007), (2.020, 0.007), (2.055, 0.006)),
        ((1.995, 0.007), (1.931, 0.011), (1.971, 0.010), (2.014, 0.009)),
        ((1.906, 0.012), (1.816, 0.022), (1.884, 0.020), (1.926, 0.025)),
        ((1.817, 0.021), (1.718, 0.032), (1.802, 0.033), (1.831, 0.050)),
    ),
    10: (
        ((2.033, 0.004), (2.012, 0.004), (2.018, 0.004), (2.051, 0.003)),
        ((2.027, 0.003), (1.975, 0.005), (1.976, 0.006), (2.015, 0.006)),
        ((1.990, 0.005), (1.888, 0.009), (1.899, 0.013), (1.947, 0.015)),
        ((1.940, 0.006), (1.805, 0.013), (1.829, 0.019), (1.875, 0.023)),
    ),
}

# Loss of Syn-Small, SGD with eta_Y = eta_Z = 1, by iteration.
LOSS = {0: 3.526, 2: 2.368, 4: 0.733, 6: 0.161, 8: 0.044, 10: 0.0130, 12: 0.0044, 98: 2.2e-5}


def panel(queries: int) -> list[float]:
    """The sixteen means of one panel, eta_Z in the outer loop and the ratio in the inner one."""
    return [mean for row in ENTROPY[queries] for mean, _ in row]


def medium_tag(eta_z: float, ratio: float) -> str:
    """Tag of the weight of one point with three queries: "syn_medium_z05_r10"."""
    return f"syn_medium_z{f'{eta_z:g}'.replace('.', '')}_r{ratio:g}"


MEDIUM = tuple(medium_tag(eta_z, ratio) for eta_z in ETA_Z for ratio in RATIOS)
