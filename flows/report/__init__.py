"""What is read afterwards: pictures, the report of an incident, the handover, the week. From the journal alone."""
