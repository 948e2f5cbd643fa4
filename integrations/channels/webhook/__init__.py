"""Messages to a receiver of signed webhooks."""
