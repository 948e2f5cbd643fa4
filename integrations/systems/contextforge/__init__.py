"""MCP gateways: what they hold, and the cuts that they can make."""
