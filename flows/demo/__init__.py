"""A small world to respond in: a real MCP server that can turn hostile, behind a real gateway, all on loopback."""
