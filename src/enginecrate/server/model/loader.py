"""Loading a model in a thread of its own, so that its process answers meanwhile."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable

from enginecrate.errors import DeviceLost, EnginecrateError, ModelNotReady
from enginecrate.server.model.climber import Climber
from enginecrate.server.model.served_model import ServedModel

__all__ = ["ModelLoader"]

_log = logging.getLogger(__name__)


class ModelLoader:
    """Loads the model, and improves it.

    error: that ends the process; `None` while there is none.
    """

    def __init__(self, model: ServedModel, climber: Climber, on_error: Callable[[], None]) -> None:
        """Nothing is loaded before `start`.

        Args:
            model: that is loaded; a device that it loses is an error here.
            climber: of the model.
            on_error: called from any thread when `error` is set.
        """
        self.error: EnginecrateError | None = None
        self._model = model
        self._climber = climber
        self._on_error = on_error
        self._thread = threading.Thread(target=self._load, name="loader", daemon=True)
        model.on_device_lost = self._lose_device

    def start(self) -> None:
        """Load from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Load no more, and answer no more requests; those that run go on."""
        self._model.stop()
        self._climber.stop()

    def _lose_device(self, error: DeviceLost) -> None:
        """End the process with the error, so that whatever watches over it starts it again."""
        self.error = error
        self._on_error()

    def _load(self) -> None:
        try:
            self._climber.climb()
        except ModelNotReady:  # the server was stopped meanwhile
            return
        except EnginecrateError as exc:
            self._give_up(exc)
        except Exception as exc:
            _log.exception("loading the model failed")
            error = EnginecrateError(
                f"loading the model failed unexpectedly ({type(exc).__name__}); the log tells more"
            )
            self._give_up(error)

    def _give_up(self, error: EnginecrateError) -> None:
        if self._model.is_serving:  # it goes on with what it has
            _log.error("the model is not improved any more: %s", error)
            return
        with contextlib.suppress(ModelNotReady):
            self._model.fail(str(error))
            self.error = error
        self._on_error()
