"""The round trip: a front end's own proof of a plan, before it serves with it.

The engine process has proven the plan already. What is proven here is the way: this process's
pipeline, the channel, the memory between them, and back.
"""

from __future__ import annotations

from pathlib import Path

from enginecrate.builder.golden.samples import GoldenSample, check_golden, load_golden
from enginecrate.errors import GoldenMismatch
from enginecrate.manifest import Manifest
from enginecrate.pipelines.base import Result
from enginecrate.server.model.serving import LoadedModel

__all__ = ["RoundTrip"]

_SECONDS = 60.0


class RoundTrip:
    """Proves plans with the app's first golden sample; an app without any has none to prove."""

    def __init__(self, manifest: Manifest, root: Path) -> None:
        """`root`: the project's folder."""
        self._folder = root / manifest.precision.accuracy.golden
        self._samples: list[GoldenSample] | None = None

    def prove(self, loaded: LoadedModel) -> None:
        """Send the sample through a plan and back.

        Raises:
            GoldenMismatch: the answer is another one.
            EnginecrateError: whatever goes wrong on the way.
        """
        if self._samples is None:
            self._samples = load_golden(self._folder)[:1]
        if not self._samples:
            return

        def predict(payload: bytes) -> Result:
            prepared = loaded.pipeline.prepare(payload)
            execution = loaded.scheduler.submit(prepared.tensors).result(_SECONDS)
            try:
                return loaded.pipeline.finish(execution.outputs, prepared.context)
            finally:
                if execution.lease is not None:
                    execution.lease.release()

        report = check_golden(predict, self._samples)
        if not report.passed:
            outcome = report.outcomes[0]
            raise GoldenMismatch(
                f"golden sample {outcome.name} gave another answer through this front end than "
                f"through the engine: {', '.join(outcome.reasons[:3])}"
            )
