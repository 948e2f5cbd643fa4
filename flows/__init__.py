"""When things happen: every entry point, and in `flows.engine` the one loop."""
