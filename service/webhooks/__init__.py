"""Sends what happens in accounts to the endpoints that they have named: formats, signatures, attempts."""
