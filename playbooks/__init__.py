"""What should happen: taxonomy, playbooks, plans, policy. Data and pure types, no I/O."""
