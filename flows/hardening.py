"""What servers may do where they run, by schedule: `flows.checks.hardening` says all of it."""

from flows.checks.hardening import CHECK
from flows.pages.checked import by_schedule

hardening = by_schedule(CHECK)
