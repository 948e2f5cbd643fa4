"""Every playbook's drills, by schedule: `flows.checks.drills` says all of it."""

from flows.checks.drills import CHECK
from flows.pages.checked import by_schedule

drills = by_schedule(CHECK)
