"""What Prefect shows, told of the journal: an incident as a flow run, its steps, its artifacts; the trend of all."""
