"""What people read of the journal: worked out here, shown by the command line, Prefect and reports."""
