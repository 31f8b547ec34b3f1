"""Kills workers, API processes and PostgreSQL at random moments, and then looks whether anything was lost or done twice."""
