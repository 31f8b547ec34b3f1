"""Half of what the service can do, for long: whether memory and tables stay as they are."""
