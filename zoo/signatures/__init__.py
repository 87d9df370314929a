"""Signatures of paths, logarithms of signatures and signature kernels: functions, and layers around them.

The signature of a path X in R^d up to depth N is the list of its iterated integrals
S^(i_1, ..., i_k) = integral over t_1 < ... < t_k of dX^{i_1}_{t_1} ... dX^{i_k}_{t_k}, k = 1 ... N; i_1 is the earliest.
"""
