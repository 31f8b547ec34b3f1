"""What clients of one process may do, and how much of it at once."""

import resource

import msgspec

from service.settings import settings

OWN_FILES = 256  # open files of a process that are no clients' connections


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What clients of one process may do: seconds, bytes, bytes per second and counts. README.md shows them."""

    requests: int  # worked on at once
    requests_of_one: int | None = (
        None  # of one account, or of the strangers of one network; None: all of these
    )
    probes: int = 8  # the same of what operators ask for; eight times as many wait
    connections: int
    queue: int = 256  # requests that wait for their turn
    queue_seconds: float = 0.5  # that they wait, where the queue has stood for `burst_seconds`; in a shorter one as long as those
    burst_seconds: float = 5.0
    uploads: int = 32  # requests under way of whose body more than 64 KiB are still to come
    upload_rate: int = 16_384
    upload_seconds: float = (
        60.0  # that the rest of a body may take behind its first 64 KiB, however fast it comes
    )
    head_bytes: int = 65_536
    target_bytes: int = 16_384  # of a request's path with its query
    headers: int = 100
    head_seconds: float = 10.0  # until the headers are complete
    # That a body may take, and one more for each `least_rate` bytes; behind 64 KiB anew, and one more for each `upload_rate`.
    body_seconds: float = 10.0
    idle_seconds: float = 5.0  # between requests
    spare_seconds: float = 1.0  # that nothing has come over a connection which makes room for another
    unread_seconds: float = (
        30.0  # that an answer may lie unread, and one more for each `least_rate` bytes that are read
    )
    unread: int = 64  # connections that have not read more than 64 KiB of what they were sent
    least_rate: int = 1024
    pipelined: int = 32  # requests of a connection that wait for the answers to those before them
    stop_seconds: float = 3.5  # for requests under way when the process is told to stop
    look_every: float = 0.5


def limits_of_settings() -> Limits:
    """The limits that the settings say, as far as the operating system allows so many connections."""
    connections = settings().connections_at_once
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY:
        connections = max(1, min(connections, files - OWN_FILES))
    requests = settings().requests_at_once
    return Limits(requests=requests, requests_of_one=max(1, requests * 3 // 4), connections=connections)
