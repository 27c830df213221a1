"""The configuration of our images: user, environment, ports, volumes, health check.

Source: OCI Image Format Specification 1.1, config.md; NVIDIA Container Toolkit, "Environment
Variables (OCI Spec)" and "Constraints" for the `NVIDIA_*` variables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from enginecrate.image.formats.oci import ContainerConfig, History, ImageConfig, RootFs
from enginecrate.image.layers.base_files import USER
from enginecrate.image.layers.entries import Layer
from enginecrate.stacks.catalog import Stack

__all__ = [
    "APP",
    "CACHE",
    "ENTRY_POINT",
    "HTTP_PORT",
    "PLANS",
    "ROOT",
    "container_config",
    "image_config",
    "stack_environment",
]

ROOT = "/opt/enginecrate"
APP = f"{ROOT}/app"
PLANS = f"{ROOT}/plans"
CACHE = "/var/cache/enginecrate"
ENTRY_POINT = f"{ROOT}/bin/enginecrate"

HTTP_PORT = 8000
_SECOND = 10**9

_BIN = f"{ROOT}/bin"
_VARIABLES: Mapping[str, str] = {
    "HOME": CACHE,
    "LANG": "C.UTF-8",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
}

_VERSIONS = {
    "cuda": "CUDA_VERSION",
    "cudnn": "CUDNN_VERSION",
    "nccl": "NCCL_VERSION",
    "onnxruntime": "ONNXRUNTIME_VERSION",
    "tensorrt": "TENSORRT_VERSION",
    "tensorrt_rtx": "TENSORRT_RTX_VERSION",
}


def stack_environment(stack: Stack, python: str) -> dict[str, str]:
    """The variables that name the locked versions and open the GPUs.

    Args:
        stack: of the image.
        python: the locked version of the interpreter, `3.11.2`.
    """
    variables = {"ENGINECRATE_STACK": stack.name, "PYTHON_VERSION": python}
    for name, version in stack.versions.items():
        if name in _VERSIONS:
            variables[_VERSIONS[name]] = version
    if stack.is_gpu:
        variables |= {
            "NVIDIA_VISIBLE_DEVICES": "all",
            "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
        }
        if requirement := _cuda_requirement(stack):
            variables["NVIDIA_REQUIRE_CUDA"] = requirement
    return variables


def container_config(
    environment: Mapping[str, str],
    labels: Mapping[str, str],
    below: Mapping[str, str] | None = None,
) -> ContainerConfig:
    """The start of a container.

    Args:
        environment: is added to the variables that all images have.
        labels: of the image.
        below: the variables of a vendor's image that lies below; ours win. Its PATH goes on ours.
    """
    below = below or {}
    path = f"{_BIN}:{below.get('PATH') or '/usr/bin'}"
    variables = {**below, **_VARIABLES, "PATH": path, **environment}
    return ContainerConfig(
        user=f"{USER}:{USER}",
        exposed_ports={f"{HTTP_PORT}/tcp": {}},
        env=tuple(f"{name}={value}" for name, value in sorted(variables.items())),
        entrypoint=(ENTRY_POINT,),
        volumes={CACHE: {}},
        working_dir=APP,
        labels=dict(sorted(labels.items())),
        stop_signal="SIGTERM",
        healthcheck={
            "Test": ["CMD", ENTRY_POINT, "--healthcheck"],
            "Interval": 10 * _SECOND,
            "Timeout": 5 * _SECOND,
            "StartPeriod": 60 * _SECOND,
            "Retries": 3,
        },
    )


def image_config(
    platform: str,
    created: str,
    container: ContainerConfig,
    layers: Sequence[Layer],
) -> ImageConfig:
    """The configuration of one platform's image; its history has one line for each layer."""
    system, _, architecture = platform.partition("/")
    architecture, _, variant = architecture.partition("/")
    return ImageConfig(
        created=created,
        architecture=architecture,
        os=system,
        variant=variant,
        config=container,
        rootfs=RootFs(diff_ids=tuple(layer.diff_id for layer in layers)),
        history=tuple(
            History(created=created, created_by=f"enginecrate: {layer.title}") for layer in layers
        ),
    )


def _cuda_requirement(stack: Stack) -> str:
    """`cuda>=13.0`: the CUDA that the driver must bring. A space means `or`.

    Where CUDA's minor-version compatibility lets an older driver do, that driver is named as well;
    without it NVIDIA's runtime would refuse hosts on which the stack runs.
    """
    cuda = stack.versions.get("cuda", "")
    if not cuda or not stack.minimum_driver:
        return ""
    needs = f"cuda>={cuda}"
    if stack.toolkit_driver and stack.toolkit_driver != stack.minimum_driver:
        needs += f" driver>={stack.minimum_driver}"
    return needs
