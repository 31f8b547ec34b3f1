"""What accounts are limited to."""
