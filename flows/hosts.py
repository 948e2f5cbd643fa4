"""The responder's machine beside its baseline, by schedule: `flows.checks.hosts` says all of it."""

from flows.checks.hosts import CHECK
from flows.pages.checked import by_schedule

hosts = by_schedule(CHECK)
