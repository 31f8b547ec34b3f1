"""The verbs that run the service: migrate, serve, worker."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import rich_click as click
import uvicorn
from litestar.types import ASGIApp
from rich.text import Text
from uvicorn.supervisors import Multiprocess

from service import stopping
from service.app import create_app, create_app_without_worker, working
from service.cli.database import ready_database, server
from service.cli.garbage import collect_less, keep_for_good
from service.cli.terminal import json_option, show, tell
from service.cli.verbs import Verb
from service.connections.limits import OWN_FILES
from service.connections.protocol import Http1Protocol
from service.engine.bell import telling_others
from service.language.sandbox import Sandbox
from service.limits.known import refreshing
from service.settings import settings
from service.telemetry.logs import configure_logging
from service.telemetry.running import telling
from service.telemetry.sharing import folder_of, prepare, share
from tenancy.errors import SetupRefused
from tenancy.postgres import connected, cut, refuse_unsafe_role
from tenancy.schema import migrate as migrated

START_SECONDS = (
    30  # for a server process to answer the one that made it: a busy machine takes more than 5 to import it
)
GRACE_SECONDS = 4  # for requests under way when the service is told to stop; work in the background has as long, at the same time
KILL_SECONDS = (
    8.5  # after which a server process that was told to stop is killed; of the ten that are promised
)

logger = logging.getLogger("tutti.serving")


@click.command(cls=Verb)
@json_option
def migrate(*, as_json: bool) -> None:
    """Bring the database's schema up to date; safe to run again."""
    with server():
        applied = asyncio.run(migrated(settings().database))
    message = f"Applied {len(applied)} migrations." if applied else "The schema is current."
    show({"applied": applied}, [message], as_json=as_json)


@click.command(cls=Verb)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on."
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes that serve."
)
@click.option("--no-worker", is_flag=True, help="Only serve requests; run instances with: tutti worker")
def serve(host: str, port: int, workers: int, *, no_worker: bool) -> None:
    """Serve the API; instances run in the same processes."""
    configure_logging(settings().log_level)
    prepare(folder_of(settings()))
    with server(watched=True):
        asyncio.run(refuse_unready())
        refuse_taken_port(host, port)
        tell(f"Tutti serves on http://{host}:{port}")
        warn_of_setup(port)
        allow_connections(settings().connections_at_once)
        config = uvicorn.Config(
            f"{__name__}:application_without_worker" if no_worker else f"{__name__}:application",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            loop="uvloop",
            http=Http1Protocol,
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=bool(settings().trusted_proxies),
            forwarded_allow_ips=settings().trusted_proxies,
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_worker_healthcheck=START_SECONDS,
        )
        run(config)


def run(config: uvicorn.Config) -> None:
    """Serve in this process, or in several, until it is told to stop.

    Raises:
        SetupRefused: it could not begin.
    """
    started = True
    try:
        if config.workers == 1:
            server = uvicorn.Server(config)
            server.run()
            started = server.started
        else:
            Processes(config, [config.bind_socket()]).run()
    except KeyboardInterrupt:
        return
    except SystemExit as end:
        if end.code not in (None, 0, 128 + signal.SIGTERM):
            raise SetupRefused("The service could not start; its log above says why.") from None
    if not started:
        raise SetupRefused("The service could not start; its log above says why.")


class Processes(Multiprocess):
    """uvicorn's processes, whose port is let go when they are told to stop: else clients would wait for nobody.

    One that does not end, as it is itself stopped or hangs, is killed.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._told_at: float | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._tell)

    def _tell(self, number: int, _: object) -> None:
        """Hear that all are to stop, at once though a process is being asked for a sign of life that does not answer."""
        self.signal_queue.append(number)
        if self._told_at is None:
            self._told_at = time.monotonic()
            for one in self.processes:
                with contextlib.suppress(OSError):  # it is being replaced
                    one.child_conn.send(b"pong")  # in its place

    def terminate_all(self) -> None:
        """Tell every process to stop."""
        for one in self.sockets:
            one.close()
        super().terminate_all()

    def join_all(self) -> None:
        """Wait for the end of every process; kill those that take too long."""
        until = (self._told_at or time.monotonic()) + KILL_SECONDS
        for one in self.processes:
            one.process.join(max(0.0, until - time.monotonic()))
            if one.process.is_alive():
                logger.warning("process %d did not end and was killed", one.pid)
                one.kill()
                one.process.join()


def allow_connections(count: int) -> None:
    """Let the process have so many connections open beside its own files, or as many as the operating system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + OWN_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def warn_of_setup(port: int) -> None:
    """Say so if what clients send can be read on the way, if nobody can tell from where, or if links lead elsewhere."""
    url = urlsplit(settings().public_url)
    local = url.hostname in ("127.0.0.1", "::1", "localhost")
    if local and port not in (0, url.port or {"http": 80, "https": 443}.get(url.scheme)):
        warning = (
            f" links in answers lead to {settings().public_url}; if clients come to port {port} themselves, name that in"
            " TUTTI_PUBLIC_URL."
        )
        tell(Text.assemble(("warning", "yellow"), warning))
    if url.scheme != "https" and not local:
        warning = (
            " TUTTI_PUBLIC_URL is plain http: passwords and tokens can be read on the way; put TLS in front."
        )
        tell(Text.assemble(("warning", "yellow"), warning))
    if url.scheme == "https" and not settings().trusted_proxies:
        warning = (
            " TUTTI_TRUSTED_PROXIES is unset: behind a proxy all clients seem to come from its address, and share "
            "one limit on failed logins; name the proxy's address there."
        )
        tell(Text.assemble(("warning", "yellow"), warning))


def application() -> ASGIApp:
    """Make the application in a server process."""
    return prepared(create_app)


def application_without_worker() -> ASGIApp:
    """Make the application that only serves requests in a server process."""
    return prepared(create_app_without_worker)


def prepared(create: Callable[[], ASGIApp]) -> ASGIApp:
    """Do what a server process needs to have done once, and make its application."""
    collect_less()
    configure_logging(settings().log_level)
    share(folder_of(settings()))
    stopping.listen()
    end_with_parent()
    application = create()
    keep_for_good()
    return application


def end_with_parent() -> None:
    """End this process when the one that made it is gone: with `--workers` a killed parent would leave its port taken."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def refuse_taken_port(host: str, port: int) -> None:
    """Try whether the port is free, so that a taken one is told in one line.

    Raises:
        SetupRefused: it is not, or there is no such host.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        raise SetupRefused(f"Cannot listen on {host} port {port}: {error.strerror or error}.") from None


async def refuse_unready() -> None:
    """Say in one line what stands in the way of serving, before any server process starts.

    Raises:
        SetupRefused: unreachable database, unsafe role, or missing migrations.
    """
    async with connected(settings().database.application) as connection:
        await refuse_unsafe_role(connection)
    async with ready_database(2):
        pass


@click.command(cls=Verb)
def worker() -> None:
    """Run instances, without serving requests."""
    configure_logging(settings().log_level)
    share(folder_of(settings()))

    async def work() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopping.begin)
        with stopping.hearing(stop.set):
            async with (
                ready_database(settings().pool_size),
                Sandbox(settings().sandbox_processes) as sandbox,
                stopping.ending_in_time(cut),
                telling(sandbox),
                telling_others(),
                refreshing(),
                working(sandbox),
            ):
                tell("Tutti runs instances.")
                await stop.wait()

    keep_for_good()
    with server(watched=True):
        asyncio.run(work())
