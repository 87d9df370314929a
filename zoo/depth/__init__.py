"""Depth as time: weights as a process along the layers, residual trunks, and how regular a network is in its depth."""
