"""The report of the week, by schedule: what happened, how fast it was contained, what did not go well."""

import asyncio
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows import reading
from flows.cli.work import reports
from flows.report.week import OLD
from flows.report.written import markdown
from flows.shown.pages import banner

KEY = "report-of-the-week"


@flow(name="report-of-the-week", flow_run_name="report of the week", retries=0, persist_result=False, log_prints=False)
async def report_of_the_week() -> State[Any]:
    """Report on the last seven days, from the journal alone.

    How many incidents, how long containment took beside the goals, what was not contained, false positives, questions
    that nobody answered, and containments that are older than a week. `mcp-soar report --week` writes the same.
    """
    config = reading.configuration()
    async with reading.journal(config) as journal:
        document, _ = await reports.weekly(journal, config, OLD)
        stops = await journal.stops()
    text = await asyncio.to_thread(markdown, document)
    await reading.show(KEY, document.title, banner(stops) + text)
    return reading.ended(f"{document.title}: see the artifact {KEY}", good=True)
