"""The report of the week, by schedule: what happened, how fast it was contained, what did not go well."""

import asyncio
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.pages import scheduled
from flows.pages.pages import banner
from flows.reading import reports
from flows.report.week import OLD
from flows.report.written import markdown

KEY = "report-of-the-week"


@flow(name="report-of-the-week", flow_run_name="report of the week", retries=0, persist_result=False, log_prints=False)
async def report_of_the_week() -> State[Any]:
    """Report on the last seven days, from the journal alone.

    How many incidents, how long containment took beside the goals, what was not contained, false positives, questions
    that nobody answered, and containments that are older than a week. `mcp-soar report --week` writes the same.
    """
    config = scheduled.configuration()
    async with scheduled.journal(config) as journal:
        document, _ = await reports.week(journal, config, OLD)
        stops = await journal.stops()
    text = await asyncio.to_thread(markdown, document)
    await scheduled.show(KEY, document.title, banner(stops) + text)
    return scheduled.ended(f"{document.title}: see the artifact {KEY}", good=True)
