"""How an incident's artifacts say which plans wait: whoever is handed an answer looks there, and needs nothing else."""

LONG = 12
"""Hexadecimal digits by which people name a plan."""

WAITING = "plans that wait: "
"""Before their short digests in the description of the artifact."""

PLAN = "-plan"
"""After the incident's id in the artifact's key."""
