"""Detect objects through the Open Inference Protocol v2, with tritonclient.

The client prepares the tensors itself, with the same pipeline as the server, and reads the boxes
from the raw outputs:

    python infer_v2.py PROJECT PHOTO [--url localhost:8000]

Needs: pip install enginecrate 'tritonclient[http]'
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import tritonclient.http

from enginecrate import open_project
from enginecrate.pipelines.base import Result
from enginecrate.settings import load_settings


def infer(project_folder: Path, photo: Path, address: str) -> Result:
    """The result for one photo, computed by the server at `address` (host:port)."""
    project = open_project(project_folder, load_settings())
    prepared = project.pipeline.prepare(photo.read_bytes())
    inputs = []
    for spec in project.model.inputs:
        array = prepared.tensors[spec.name]
        tensor = tritonclient.http.InferInput(spec.name, list(array.shape), spec.datatype)
        tensor.set_data_from_numpy(array, binary_data=True)
        inputs.append(tensor)
    with tritonclient.http.InferenceServerClient(address) as client:
        answer = client.infer(project.manifest.app.name, inputs)
    outputs = {spec.name: answer.as_numpy(spec.name) for spec in project.model.outputs}
    return project.pipeline.finish(outputs, prepared.context)


def main() -> None:
    """Print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--url", default="localhost:8000", help="host:port")
    options = parser.parse_args()
    result = infer(options.project, options.photo, options.url)
    print(msgspec.json.format(msgspec.json.encode(result)).decode())


if __name__ == "__main__":
    main()
