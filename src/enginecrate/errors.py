"""Every error that a user can see, in one tree.

Each class has a `kind`, which decides the exit code and the HTTP status (one table each:
`cli/shared/exit_codes.py`, `server/http/error_answers.py`), and a `code`, which never changes its
meaning and can be searched for. The classes stand in the order of their codes; `docs/errors.md`
draws the tree.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar, Literal

Kind = Literal[
    "invalid",  # the caller's input is wrong: change it
    "not_found",  # the thing that was named does not exist
    "not_allowed",  # the thing exists, but not with this method, or not for this caller
    "too_large",  # over a limit
    "unsupported",  # well-formed, but this version or machine cannot do it
    "unavailable",  # not now: try again later
    "overloaded",  # too many requests: try again after a moment
    "timeout",  # took longer than allowed
    "conflict",  # something that is there already stands in the way
    "incomplete",  # nothing is wrong, but not everything could be examined
    "failed",  # the work was done and its result is not good enough
    "internal",  # our fault
]


def nearest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the closest of `known`, or `""` when none is close."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


class EnginecrateError(Exception):
    """The root of the tree. `str(error)` says what is wrong, where, and what to do next."""

    kind: ClassVar[Kind] = "internal"
    code: ClassVar[str] = "EC0001"


class SystemRefused(EnginecrateError):
    """The operating system refuses something: no space, no memory, no permission."""

    kind = "unavailable"
    code = "EC0002"


class UsageError(EnginecrateError):
    """A command line that cannot be carried out."""

    kind: ClassVar[Kind] = "invalid"
    code = "EC1000"


class SettingInvalid(UsageError):
    """A setting has an unknown name or a value out of its range."""

    code = "EC1001"


class MissingExtra(UsageError):
    """An optional dependency is not installed."""

    kind = "unavailable"
    code = "EC1002"

    def __init__(self, package: str, *, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(
            f"{package} is not installed; install it with: pip install 'enginecrate[{extra}]'"
        )


class InputUnreadable(UsageError):
    """A file that was named on the command line does not exist or cannot be read."""

    kind = "not_found"
    code = "EC1003"


class SetupUnknown(UsageError):
    """`init` cannot tell how a model is set up; the message has the options that say it.

    guesses: all of them, for `--json`.
    """

    code = "EC1004"

    def __init__(self, message: str, *, guesses: list[dict[str, object]]) -> None:
        super().__init__(message)
        self.guesses = guesses


class ProjectError(EnginecrateError):
    """The project folder or its manifest is not usable."""

    kind: ClassVar[Kind] = "invalid"
    code = "EC1100"


class ManifestNotFound(ProjectError):
    """There is no `enginecrate.toml` where one was looked for."""

    kind = "not_found"
    code = "EC1101"


class ManifestSyntax(ProjectError):
    """The manifest is not valid TOML."""

    code = "EC1102"


class ManifestInvalid(ProjectError):
    """The manifest is TOML, but does not follow the schema, or what it names is not right.

    The message has every fault. faults: the same, as `manifest.LocatedFault`.
    """

    code = "EC1103"

    def __init__(self, message: str, *, faults: Iterable[object] = ()) -> None:
        self.faults = tuple(faults)
        super().__init__(message)


class ProjectExists(ProjectError):
    """`init` would overwrite something.

    changes: what it would change in a project, for the user to read; empty for other things.
    """

    kind = "conflict"
    code = "EC1104"

    def __init__(self, message: str, *, changes: str = "") -> None:
        super().__init__(message)
        self.changes = changes


class LabelsInvalid(ProjectError):
    """The labels file cannot be read, or does not fit the model."""

    code = "EC1105"


class LockInvalid(ProjectError):
    """`enginecrate.lock` cannot be read, or does not follow its format."""

    code = "EC1106"


class LockStale(ProjectError):
    """`enginecrate.lock` was written for another manifest."""

    kind = "conflict"
    code = "EC1107"


class GraphError(EnginecrateError):
    """The ONNX model is not usable."""

    kind: ClassVar[Kind] = "invalid"
    code = "EC1200"


class ModelNotFound(GraphError):
    """The model file does not exist."""

    kind = "not_found"
    code = "EC1201"


class ModelInvalid(GraphError):
    """The file is not a valid ONNX model."""

    code = "EC1202"


class ModelUnsupported(GraphError):
    """The model is valid, but uses something that is not supported."""

    kind = "unsupported"
    code = "EC1203"


class ModelTooCostly(GraphError):
    """To check or simplify the model takes more memory or time than its size allows."""

    kind = "unsupported"
    code = "EC1204"


class EngineError(EnginecrateError):
    """A plan or an engine failed."""

    code = "EC1300"


class BackendUnavailable(EngineError):
    """The backend's library or its device is missing on this machine."""

    kind = "unavailable"
    code = "EC1301"


class PlanInvalid(EngineError):
    """A plan or its sidecar is damaged: its bytes are not what the sidecar promises."""

    kind = "invalid"
    code = "EC1302"


class PlanMismatch(EngineError):
    """A sound plan that was built for something else than what it is asked to do."""

    kind = "invalid"
    code = "EC1303"


class PlanBuildFailed(EngineError):
    """The backend refused to build a plan from the model.

    nodes: names of the nodes that it refuses, as far as it names them.
    needs_fp16: these nodes would be taken in FP16.
    """

    kind = "failed"
    code = "EC1304"

    def __init__(
        self, message: str, *, nodes: Iterable[str] = (), needs_fp16: bool = False
    ) -> None:
        self.nodes, self.needs_fp16 = tuple(nodes), needs_fp16
        super().__init__(message)


class EngineRunFailed(EngineError):
    """The engine failed while running on inputs that match its specification."""

    code = "EC1305"


class TensorMismatch(EngineError):
    """An input tensor is missing, unknown, or has the wrong shape or datatype."""

    kind = "invalid"
    code = "EC1306"


class CacheUnusable(EngineError):
    """The cache folder cannot be created or written, or belongs to another user."""

    kind: ClassVar[Kind] = "unavailable"
    code = "EC1307"


class CacheFull(CacheUnusable):
    """The disk is full, or the plan is larger than the cache may become."""

    code = "EC1308"


class CacheNotPersistent(CacheUnusable):
    """A plan that is built would be lost: the cache is not on a writable volume."""

    kind = "conflict"
    code = "EC1309"


class DeviceLost(EngineRunFailed):
    """The GPU failed in a way that ends its use by this process; a new process can use it again."""

    code = "EC1310"


class BackendUnknown(EngineError):
    """This version has no backend of this name."""

    kind = "not_found"
    code = "EC1311"


class EngineOutOfMemory(EngineRunFailed):
    """The memory of the device did not suffice for a run; a smaller batch, or a later one, may."""

    kind = "unavailable"
    code = "EC1312"


class PipelineError(EnginecrateError):
    """Pre- or post-processing failed."""

    kind: ClassVar[Kind] = "invalid"
    code = "EC1400"


class ImageUndecodable(PipelineError):
    """The bytes are an image of a known format, but damaged."""

    code = "EC1401"


class ImageTooLarge(PipelineError):
    """The image has more pixels or bytes than the limit; nothing was decoded."""

    kind = "too_large"
    code = "EC1402"


class ImageFormatUnsupported(PipelineError):
    """The bytes are not JPEG, PNG, WebP or BMP."""

    code = "EC1403"


class PipelineInvalid(PipelineError):
    """The `[pipeline]` section does not fit the model."""

    code = "EC1404"


class PipelineModuleInvalid(PipelineError):
    """The ISV's own pipeline class cannot be loaded, or breaks the pipeline contract."""

    code = "EC1405"


class TensorsUndecodable(PipelineError):
    """The bytes are not an `.npz` archive of plain arrays."""

    code = "EC1406"


class TensorsTooLarge(PipelineError):
    """The arrays of an `.npz` archive have more bytes than the limit; nothing was unpacked."""

    kind = "too_large"
    code = "EC1407"


class ImageTooCostly(PipelineError):
    """To decode the image takes more memory or time than this server may spend on one."""

    kind = "too_large"
    code = "EC1408"


class BuildError(EnginecrateError):
    """A build ended without a usable result."""

    kind: ClassVar[Kind] = "failed"
    code = "EC1500"


class GoldenInvalid(BuildError):
    """The golden samples cannot be read."""

    kind = "invalid"
    code = "EC1501"


class GoldenMismatch(BuildError):
    """A golden sample gives another result than the expected one."""

    code = "EC1502"


class StackUnsupported(BuildError):
    """Nothing that the manifest names can be built, or nothing of a stack can run here."""

    kind = "unsupported"
    code = "EC1504"


class AccuracyTooLow(BuildError):
    """The plan's results agree too seldom with those of the model as it was given.

    evaluation: what was measured (`builder.accuracy.evaluation.Evaluation`), for the report.
    """

    code = "EC1505"

    def __init__(self, message: str, *, evaluation: object = None) -> None:
        super().__init__(message)
        self.evaluation = evaluation


class CalibrationInvalid(BuildError):
    """The calibration images or the calibration table cannot be used."""

    kind = "invalid"
    code = "EC1506"


class EvaluationInvalid(BuildError):
    """The images or labels that accuracy is measured with cannot be used."""

    kind = "invalid"
    code = "EC1507"


class NotWorthwhile(BuildError):
    """A precision brings too little for this model: nothing is shipped under its name.

    evaluation: what was measured (`builder.accuracy.evaluation.Evaluation`), for the report.
    """

    code = "EC1508"

    def __init__(self, message: str, *, evaluation: object = None) -> None:
        super().__init__(message)
        self.evaluation = evaluation


class BuildOutOfMemory(BuildError):
    """A build in a process of its own needed more memory than it may have."""

    kind = "unavailable"
    code = "EC1509"


class ConformanceFailed(BuildError):
    """A backend computes something else than the reference."""

    code = "EC1510"


class TooFewPhotos(BuildError):
    """Too few photos show whether a quantised precision is accurate enough: none is shipped.

    evaluation: what was measured (`builder.accuracy.evaluation.Evaluation`), for the report.
    """

    kind = "incomplete"
    code = "EC1511"

    def __init__(self, message: str, *, evaluation: object = None) -> None:
        super().__init__(message)
        self.evaluation = evaluation


class TrialFailed(BuildError):
    """An app gives errors, or answers that cannot be right, on the photos of the trial run."""

    code = "EC1512"


class ServingError(EnginecrateError):
    """A request to the server could not be answered."""

    code = "EC1600"


class RequestInvalid(ServingError):
    """The request is malformed."""

    kind = "invalid"
    code = "EC1601"


class BodyTooLarge(ServingError):
    """The request's body is over the limit, as sent or after decompression."""

    kind = "too_large"
    code = "EC1602"


class ModelUnknown(ServingError):
    """No model of this name or version is served."""

    kind = "not_found"
    code = "EC1603"


class ModelNotReady(ServingError):
    """The model is loading, or its golden samples failed."""

    kind = "unavailable"
    code = "EC1604"


class QueueFull(ServingError):
    """Too many requests wait already.

    reason: what there is too much of, as metrics name it: `time` that what waits takes, `count` of
        what waits, the client's `share`, `memory`.
    """

    kind = "overloaded"
    code = "EC1605"

    def __init__(self, message: str, *, reason: str = "other") -> None:
        super().__init__(message)
        self.reason = reason


class RequestTimeout(ServingError):
    """The request took longer than the time limit, or its body arrived too slowly."""

    kind: ClassVar[Kind] = "timeout"
    code = "EC1606"


class RouteUnknown(ServingError):
    """No such path."""

    kind = "not_found"
    code = "EC1607"


class MethodNotAllowed(ServingError):
    """The path exists, but not for this method."""

    kind = "not_allowed"
    code = "EC1608"


class AddressInUse(ServingError):
    """The server cannot listen on its address."""

    kind = "conflict"
    code = "EC1609"


class ServerUnreachable(ServingError):
    """A client command could not reach the server, or got no usable answer."""

    kind = "unavailable"
    code = "EC1610"


class BodyTooSlow(RequestTimeout):
    """The request's body did not arrive within the time limit."""

    code = "EC1611"


class MediaTypeUnsupported(ServingError):
    """The body has a `Content-Type` or a `Content-Encoding` that the path does not take."""

    kind = "invalid"
    code = "EC1612"


class ServerProcessFailed(ServingError):
    """The processes of the server end again and again."""

    kind = "internal"
    code = "EC1613"


class MemoryLacking(ServingError):
    """There is not enough memory for the work on a request at the moment. The request is right."""

    kind = "unavailable"
    code = "EC1614"


class StackError(EnginecrateError):
    """Stacks, GPUs and drivers."""

    kind: ClassVar[Kind] = "invalid"
    code = "EC1700"


class StackUnknown(StackError):
    """No stack has this name."""

    kind = "not_found"
    code = "EC1701"


class GpuUnknown(StackError):
    """No GPU has this name."""

    kind = "not_found"
    code = "EC1702"


class StackDataInvalid(StackError):
    """A data file of stacks or GPUs does not follow its schema."""

    kind = "internal"
    code = "EC1703"


class ImageError(EnginecrateError):
    """Images, the packages that they are made of, and registries."""

    kind: ClassVar[Kind] = "invalid"
    code = "EC1800"


class ReferenceInvalid(ImageError):
    """An image's name cannot be understood."""

    code = "EC1801"


class ImageNotFound(ImageError):
    """There is no such image, tag or blob where it was looked for."""

    kind = "not_found"
    code = "EC1802"


class ImageInvalid(ImageError):
    """An OCI layout, manifest, index or configuration does not follow its specification."""

    code = "EC1803"


class BlobCorrupt(ImageError):
    """Bytes are not those that their digest or size promises."""

    kind = "failed"
    code = "EC1804"


class ArchiveUnsafe(ImageError):
    """An archive (.deb, wheel, layer, tar) holds an entry that must not be extracted."""

    code = "EC1805"


class SourceUnavailable(ImageError):
    """A source of packages cannot be reached, or does not have what is asked for."""

    kind = "unavailable"
    code = "EC1806"


class ArtifactMissing(ImageError):
    """A locked file is neither in the cache nor at any source."""

    kind = "not_found"
    code = "EC1807"


class ArtifactChanged(ImageError):
    """A file is not the one that was locked."""

    kind = "failed"
    code = "EC1808"


class RegistryUnavailable(ImageError):
    """A registry cannot be reached, or fails."""

    kind = "unavailable"
    code = "EC1809"


class RegistryDenied(ImageError):
    """A registry refuses: not logged in, or not allowed."""

    kind = "not_allowed"
    code = "EC1810"


class TagTaken(ImageError):
    """An immutable tag names another image already."""

    kind = "conflict"
    code = "EC1811"


class RecipeInvalid(ImageError):
    """The parts of an image do not fit together."""

    code = "EC1812"


class AuditFailed(ImageError):
    """An image breaks rules of hardening."""

    kind = "failed"
    code = "EC1813"


class OriginUnknown(ImageError):
    """Git does not say in time which commit a project is from."""

    kind = "unavailable"
    code = "EC1814"


class ReleaseError(EnginecrateError):
    """Signatures, statements and the verification of a release."""

    kind: ClassVar[Kind] = "invalid"
    code = "EC1900"


class KeyInvalid(ReleaseError):
    """A key cannot be read, or is not of a supported kind."""

    code = "EC1901"


class PassphraseWrong(ReleaseError):
    """The passphrase does not open the key."""

    kind = "not_allowed"
    code = "EC1902"


class SignatureInvalid(ReleaseError):
    """There is no signature, or none that the given keys confirm."""

    kind = "failed"
    code = "EC1903"


class ReleaseInvalid(ReleaseError):
    """A release manifest, statement or SBOM does not follow its format."""

    code = "EC1904"


class ReleaseIncomplete(ReleaseError):
    """Something that the release manifest lists is missing, or is another thing."""

    kind = "failed"
    code = "EC1905"


class VerificationFailed(ReleaseError):
    """At least one check of a release failed."""

    kind = "failed"
    code = "EC1906"


class VerificationIncomplete(ReleaseError):
    """No check failed, but at least one could not run."""

    kind = "incomplete"
    code = "EC1907"


class KeyUnknown(KeyInvalid):
    """There is no key of this name or id in the trust file."""

    kind = "not_found"
    code = "EC1908"


class KeyExists(KeyInvalid):
    """A key of this name, or this very key, is there already. Keys are never overwritten."""

    kind = "conflict"
    code = "EC1909"


def error_class(code: str) -> type[EnginecrateError]:
    """The class of a code; the root when this version has none."""
    return next((cls for cls in error_classes() if cls.code == code), EnginecrateError)


def error_classes() -> list[type[EnginecrateError]]:
    """Every class of this tree, in the order of their codes."""
    return [
        item
        for item in globals().values()
        if isinstance(item, type) and issubclass(item, EnginecrateError)
    ]
