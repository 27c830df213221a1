"""Vendors' own classes import from `enginecrate.pipelines`: its modules keep their names."""

import importlib

import pytest

PROMISED = {
    "annotate": {"annotate"},
    "base": {
        "Classification", "ClassificationResult", "Detection", "DetectionResult", "Limits",
        "Pipeline", "Prepared", "Result", "SentImage", "TensorResult", "TensorsResult",
    },
    "classification": {"ClassificationPipeline"},
    "detection": {"DetectionPipeline"},
    "geometry": {"Geometry"},
    "image": {"decode_image", "perspective_crop", "resize_image", "to_tensor"},
    "image_input": {"ImageInput"},
    "image_tensors": {"ImagePipeline"},
    "labels": {"load_labels"},
    "nms": {"nms"},
    "normalize": {"Normalizer"},
    "placement": {"Placement"},
    "regions": {"Region", "find_regions"},
    "resize": {"upright"},
    "tensors": {"TensorsPipeline", "tensor_result"},
}  # fmt: skip


@pytest.mark.parametrize("name", PROMISED)
def test_modules_for_vendors_keep_their_names(name: str):
    module = importlib.import_module(f"enginecrate.pipelines.{name}")
    assert set(module.__all__) >= PROMISED[name]
