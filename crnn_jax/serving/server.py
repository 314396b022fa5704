"""Runs the application on a socket, until a signal asks it to stop."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn

from crnn_jax.errors import RunError, brief
from crnn_jax.runtime import signals
from crnn_jax.serving import access, app, protocol
from crnn_jax.serving.app import Service
from crnn_jax.serving.programs import Programs
from crnn_jax.serving.settings import Settings


class Server(uvicorn.Server):
    """A server that stops after a signal, when all requests are answered.

    A second signal ends the process at once.
    """

    def __init__(self, service: Service, settings: Settings, report: Callable[[str], None]):
        """Makes a server; `run` runs it on sockets.

        Args:
          service: from `app.make`.
          settings: the bounds.
          report: is called with the lines to print.
        """
        config = uvicorn.Config(
            service.app,
            http=protocol.bounded(settings, service.metrics),
            ws="none",
            lifespan="on",
            log_config=None,  # only errors are logged, to the standard error
            log_level="error",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=settings.max_header,
            timeout_keep_alive=max(1, round(settings.header_seconds)),
            timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
        )
        super().__init__(config)
        self._service, self._report = service, report
        self._was_warm = False
        service.batcher.ended = self.end

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with signals.SignalWatcher(second_ends=True) as self._watcher:
            yield

    async def on_tick(self, counter: int) -> bool:
        if self._service.batcher.is_warm and not self._was_warm:
            self._was_warm = True
            self._report("ready")
        if self._watcher.number is not None:
            self.end()
        if self.should_exit and not self._service.is_draining:
            self._service.is_draining = True
            self._report("stopping: finishing the requests in progress")
        return await super().on_tick(counter)

    def end(self) -> None:
        """Stops the server like a signal. Can be called by any thread."""
        self.should_exit = True


def serve(
    programs: Programs,
    bound: socket.socket,
    settings: Settings,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Serves a reader until SIGTERM, SIGINT or SIGHUP.

    Then it accepts no more connections and answers the requests in progress, for at most
    `drain_seconds`.

    Args:
      programs: the reader.
      bound: a socket from `access.listen`.
      settings: the bounds.
      report: is called with the lines to print.

    Raises:
      RunError: the programs could not be compiled.
    """
    service = app.make(programs, app.describe(programs), settings)
    with contextlib.closing(bound):
        report(
            f"listening on {access.url_of(bound)}; compiling {programs.count} programs, which "
            "takes minutes at the first start and seconds later"
        )
        Server(service, settings, report).run([bound])
    if (failure := service.batcher.failure) is not None:
        raise RunError(
            f"the programs of the reader cannot be compiled ({type(failure).__name__}: "
            f"{brief(failure)}); try a smaller --max-batch"
        ) from failure
    report("stopped")
