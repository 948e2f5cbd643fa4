"""Servers, asked as a stranger would: what a good one refuses, how it proves itself, and who else is there."""
