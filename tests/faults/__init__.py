"""What the service does when something that it stands on fails, or somebody means it harm."""
