"""The Keyfactor dialect: workflow instances and definitions in the words of that vendor's Command API, over the same rows."""
