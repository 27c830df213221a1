"""The inputs of a project's typed graphs. All graphs and plans of one build share them."""

from __future__ import annotations

import logging
from functools import cached_property

from enginecrate.builder.accuracy.evaluation_set import EvaluationSet
from enginecrate.builder.graphs.cache import GraphStore, StoredGraph
from enginecrate.builder.graphs.graph_key import graph_key
from enginecrate.builder.graphs.graph_result import GraphResult
from enginecrate.builder.project.photo_split import ProjectPhotos, find_project_photos
from enginecrate.builder.project.project import Project
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.rewrite.simplify import simplify
from enginecrate.graph.typed import Scheme, TypedGraph
from enginecrate.settings import Settings
from enginecrate.values import Precision, Progress, no_progress

__all__ = ["GraphInputs"]

_log = logging.getLogger(__name__)

_NO_PHOTOS = ProjectPhotos((), (), ())


class GraphInputs:
    """The simplified model, the photos and the evaluation set of one project.

    Each is made when it is first asked for, and kept: a build asks for them once for each graph
    and again for each plan. Photos are paths with digests; their pixels are not kept.
    """

    def __init__(
        self, project: Project, settings: Settings, progress: Progress = no_progress
    ) -> None:
        """Nothing is read yet. `progress` is told what goes on."""
        self.project = project
        self._settings = settings
        self._progress = progress

    @cached_property
    def photos(self) -> ProjectPhotos:
        """The photos of the project, split. Raises as `find_project_photos`."""
        return find_project_photos(self.project, self._progress)

    @cached_property
    def evaluation_set(self) -> EvaluationSet:
        """The evaluation set of these photos. The reference runs at its first use."""
        return EvaluationSet(self.project, self.photos, self._progress)

    @cached_property
    def model(self) -> OnnxModel:
        """The simplified model. The cache folder has it, too.

        Raises:
            CacheUnusable: the cache folder cannot be used.
        """
        project, progress = self.project, self._progress
        store = GraphStore(self._settings.cache_path)
        key = graph_key(project, Precision.FP32, Scheme.CPU, _NO_PHOTOS)
        stored = store.get(key) if project.model.weights is None else None
        if stored is not None:
            return stored.result(project.model).typed.model
        progress("simplify the graph", 0, 1)
        simplified = simplify(project.model)
        if simplified.note:
            _log.warning("%s: %s", project.model.source, simplified.note)
        progress("simplify the graph", 1, 1)
        if simplified.model.weights is None and not simplified.note:
            result = GraphResult(TypedGraph(simplified.model, Precision.FP32, ()))
            store.put(key, StoredGraph.of(result))
        return simplified.model
