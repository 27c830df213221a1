"""Write tests/engines/tensorrt_api.json: what the Python bindings of TensorRT's versions offer.

    pip download --no-deps -d wheels tensorrt_bindings==8.6.1 tensorrt-cu13-bindings==11.4.*
    python scripts/read_tensorrt_api.py wheels/*.whl

The bindings are published as wheels, and do not import without TensorRT's libraries. Reading their
names needs none of the libraries' functions, so empty ones stand for them (made with gcc). Needs
the Python that the wheels are for.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TARGET = Path(__file__).parents[1] / "tests" / "engines" / "tensorrt_api.json"
CLASSES = (
    "Builder", "BuilderFlag", "ComputeCapability", "EngineInspector", "EngineInvalidityDiagnostics",
    "EngineValidity", "HardwareCompatibilityLevel", "IBuilderConfig", "ICudaEngine",
    "IExecutionContext", "ILogger", "INetworkDefinition", "IOptimizationProfile",
    "IOutputAllocator", "IProgressMonitor", "IRuntimeCache", "IRuntimeConfig", "ITimingCache",
    "LayerInformationFormat", "MemoryPoolType", "NetworkDefinitionCreationFlag", "OnnxParser",
    "OnnxParserRefitter", "ParserError", "Refitter", "Runtime", "TensorIOMode",
)  # fmt: skip


def main(wheels: list[str]) -> None:
    known = json.loads(TARGET.read_text(encoding="utf-8")) if TARGET.exists() else {}
    for wheel in wheels:
        version = Path(wheel).name.split("-")[1]
        command = [sys.executable, __file__, "--one", wheel]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        known[version] = json.loads(done.stdout)
    text = json.dumps(known, indent=1, sort_keys=True)
    text = re.sub(r"\[\s+([^\[\]]*?)\s+\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
    TARGET.write_text(text + "\n", encoding="utf-8")


def read(wheel: str) -> dict[str, list[str]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        library = next(folder.glob("*/*.so"))
        if "rtx" not in library.parent.name:
            stand_in(library, folder)
        sys.path.insert(0, str(folder))
        module = importlib.import_module(f"{library.parent.name}.{library.stem}")
        return {
            kind: [name for name in dir(getattr(module, kind)) if name[0] != "_"]
            for kind in CLASSES
            if hasattr(module, kind)
        }


def stand_in(library: Path, folder: Path) -> None:
    """Load empty libraries with the names and the functions that the bindings ask for."""
    dynamic = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True)
    needed = [name for name in re.findall(r"\[(lib\S+)\]", dynamic.stdout) if "libnv" in name]
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True
    )
    symbols = re.findall(
        r" U ((?:create|get|init|_ZN11nvuff|_ZN14nvcaffe)\w+)$", listed.stdout, re.M
    )
    source = folder / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in symbols))
    for name in needed:
        output = folder / name
        command = ["gcc", "-shared", "-fPIC", "-w", "-o", output, source, f"-Wl,-soname,{name}"]
        subprocess.run(command, check=True)
        ctypes.CDLL(str(output), mode=ctypes.RTLD_GLOBAL)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(read(sys.argv[2])))
    else:
        main(sys.argv[1:])
