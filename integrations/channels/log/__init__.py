"""The log as a channel to people: always there, read by whatever collects logs."""
