"""The one loop: reads an incident's journal, runs what can run now, returns. Plain asyncio, no Prefect."""
