"""MCP as it is spoken: a client of our own, what a server offers, and how two readings of that differ."""
