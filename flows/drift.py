"""Definitions compared with their pins, by schedule: `flows.checks.drift` says all of it."""

from flows.checks.drift import CHECK
from flows.pages.checked import by_schedule

pin_drift = by_schedule(CHECK)
