"""MCP itself: what a server offers, what it answers, and whether that is what was approved."""
