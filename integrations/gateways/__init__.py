"""What is done and asked at any MCP gateway: actions, captures, verification; a system is the driver of one product."""
