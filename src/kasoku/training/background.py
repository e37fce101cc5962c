"""Work that the training does not wait for."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


def in_background(work: Callable[..., Any], *args: Any) -> Future[Any]:
    """The future of `work`, in a thread that the end of the process does not wait for."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work(*args))
        except BaseException as error:  # whoever asks for the result gets it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name=work.__name__).start()
    return future
