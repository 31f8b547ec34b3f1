"""Connections of clients and what they may take: HTTP/1.1, its limits, and refusals before anybody looks at a request."""
