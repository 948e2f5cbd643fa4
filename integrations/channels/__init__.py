"""Ways to people, a folder each: e-mail, Slack, a webhook, a file, the log."""
