"""What accounts are limited to, as each process goes by it, whatever dialect a request comes in."""
