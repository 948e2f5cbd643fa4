"""The command line. Modules here only declare commands, so that help is fast; `work` does what they say."""
