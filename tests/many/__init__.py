"""Accounts with many instances, and the lists that read them: for tests of what lists cost, and for measurements."""
