"""Servers asked again what is safe to ask, by schedule: `flows.checks.behaviour` says all of it."""

from flows.checks.behaviour import CHECK
from flows.pages.checked import by_schedule

behaviour = by_schedule(CHECK)
