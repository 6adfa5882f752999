"""A file per bench: what it measures and how stands at its top."""
