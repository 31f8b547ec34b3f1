"""How often the processes of the command look for garbage in cycles, which is a cost of every request.

Python looks whenever 700 more objects were made than freed, which 16 requests at once come to again and again: 6 % of the
processor time of a get. What a request leaves behind is freed without a look, but for a rare cycle.
"""

import gc

MADE = 10_000  # objects more than were freed, before a look at those; a few MiB


def collect_less() -> None:
    """Look less often from now on."""
    gc.set_threshold(MADE)


def keep_for_good() -> None:
    """Never look again at what is there now: the code, and the application that was made of it."""
    gc.freeze()
