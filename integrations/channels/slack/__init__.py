"""Slack: messages with buttons by the Web API, and what people press by Socket Mode."""
