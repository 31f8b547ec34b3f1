"""Measures the service side by side with a bare handler: one server process, one PostgreSQL, one run."""
