"""One file a step. None is changed after its release."""
