"""What is revoked, asked and kept as evidence at any identity provider; what only one product has is in its system."""
