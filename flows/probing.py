"""Servers asked as a stranger would, by schedule: `flows.checks.probing` says all of it."""

from flows.checks.probing import CHECK
from flows.pages.checked import by_schedule

probing = by_schedule(CHECK)
