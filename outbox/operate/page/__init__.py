"""The operator's page: what waits, what failed and why, and the verbs that put it right."""
