"""What Prefect's UI shows: an incident's artifacts and task runs, the installation's trend. Only `shelf` does I/O."""
