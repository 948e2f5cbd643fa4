"""What would be done, and whether it may be: the plan and the gate."""
