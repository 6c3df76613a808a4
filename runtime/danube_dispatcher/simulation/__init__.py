"""Deterministic simulation: the whole runtime on virtual time, on a disk that survives crashes, with every fault at a rate.

The same seed gives the same history, byte for byte. A checker that knows nothing of the code reads it.
"""
