"""Inbound alerts: which sources may send them, how they prove who they are, and what each format means."""
