"""How to touch each outside system: one package a system, the only place that imports its SDK."""
