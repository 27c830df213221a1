# Cut from tensorrt-stubs 10.13.0.35.1 (MIT licence, Copyright (c) sync.dev) by
# scripts/reduce_tensorrt_stubs.py; do not edit.
# mypy: ignore-errors
import typing

__version__: str

class Builder:
    error_recorder: typing.Any
    max_threads: int

    @staticmethod
    def __enter__(this):
        ...

    @staticmethod
    def __exit__(this, exc_type, exc_value, traceback):
        ...

    def __del__(self) -> None:
        ...

    def __init__(self, logger: ILogger) -> None:
        ...

    def build_engine_with_config(self, network: INetworkDefinition, config: IBuilderConfig) -> ICudaEngine:
        ...

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory:
        ...

    def build_serialized_network_to_stream(self, network: INetworkDefinition, config: IBuilderConfig, writer: typing.Any) -> bool:
        ...

    def create_builder_config(self) -> IBuilderConfig:
        ...

    def create_network(self, flags: int=...) -> INetworkDefinition:
        ...

    def create_optimization_profile(self) -> IOptimizationProfile:
        ...

    def get_plugin_registry(self) -> typing.Any:
        ...

    def is_network_supported(self, network: INetworkDefinition, config: IBuilderConfig) -> bool:
        ...

    def reset(self) -> None:
        ...

    @property
    def logger(self) -> ILogger:
        ...

    @property
    def max_DLA_batch_size(self) -> int:
        ...

    @property
    def num_DLA_cores(self) -> int:
        ...

    @property
    def platform_has_fast_fp16(self) -> bool:
        ...

    @property
    def platform_has_fast_int8(self) -> bool:
        ...

    @property
    def platform_has_tf32(self) -> bool:
        ...

class BuilderFlag:
    BF16: typing.ClassVar[BuilderFlag]
    DEBUG: typing.ClassVar[BuilderFlag]
    DIRECT_IO: typing.ClassVar[BuilderFlag]
    DISABLE_COMPILATION_CACHE: typing.ClassVar[BuilderFlag]
    DISABLE_TIMING_CACHE: typing.ClassVar[BuilderFlag]
    DISTRIBUTIVE_INDEPENDENCE: typing.ClassVar[BuilderFlag]
    EDITABLE_TIMING_CACHE: typing.ClassVar[BuilderFlag]
    ERROR_ON_TIMING_CACHE_MISS: typing.ClassVar[BuilderFlag]
    EXCLUDE_LEAN_RUNTIME: typing.ClassVar[BuilderFlag]
    FP16: typing.ClassVar[BuilderFlag]
    FP4: typing.ClassVar[BuilderFlag]
    FP8: typing.ClassVar[BuilderFlag]
    GPU_FALLBACK: typing.ClassVar[BuilderFlag]
    INT4: typing.ClassVar[BuilderFlag]
    INT8: typing.ClassVar[BuilderFlag]
    MONITOR_MEMORY: typing.ClassVar[BuilderFlag]
    OBEY_PRECISION_CONSTRAINTS: typing.ClassVar[BuilderFlag]
    PREFER_PRECISION_CONSTRAINTS: typing.ClassVar[BuilderFlag]
    REFIT: typing.ClassVar[BuilderFlag]
    REFIT_IDENTICAL: typing.ClassVar[BuilderFlag]
    REFIT_INDIVIDUAL: typing.ClassVar[BuilderFlag]
    REJECT_EMPTY_ALGORITHMS: typing.ClassVar[BuilderFlag]
    SAFETY_SCOPE: typing.ClassVar[BuilderFlag]
    SPARSE_WEIGHTS: typing.ClassVar[BuilderFlag]
    STRICT_NANS: typing.ClassVar[BuilderFlag]
    STRIP_PLAN: typing.ClassVar[BuilderFlag]
    TF32: typing.ClassVar[BuilderFlag]
    VERSION_COMPATIBLE: typing.ClassVar[BuilderFlag]
    WEIGHTLESS: typing.ClassVar[BuilderFlag]
    WEIGHT_STREAMING: typing.ClassVar[BuilderFlag]
    __members__: typing.ClassVar[dict[str, BuilderFlag]]

    def __eq__(self, other: typing.Any) -> bool:
        ...

    def __ge__(self, other: typing.Any) -> bool:
        ...

    def __getstate__(self) -> int:
        ...

    def __gt__(self, other: typing.Any) -> bool:
        ...

    def __hash__(self) -> int:
        ...

    def __index__(self) -> int:
        ...

    def __init__(self, value: int) -> None:
        ...

    def __int__(self) -> int:
        ...

    def __le__(self, other: typing.Any) -> bool:
        ...

    def __lt__(self, other: typing.Any) -> bool:
        ...

    def __ne__(self, other: typing.Any) -> bool:
        ...

    def __repr__(self) -> str:
        ...

    def __setstate__(self, state: int) -> None:
        ...

    def __str__(self) -> str:
        ...

    @property
    def name(self) -> str:
        ...

    @property
    def value(self) -> int:
        ...

class DataType:
    BF16: typing.ClassVar[DataType]
    BOOL: typing.ClassVar[DataType]
    E8M0: typing.ClassVar[DataType]
    FLOAT: typing.ClassVar[DataType]
    FP4: typing.ClassVar[DataType]
    FP8: typing.ClassVar[DataType]
    HALF: typing.ClassVar[DataType]
    INT32: typing.ClassVar[DataType]
    INT4: typing.ClassVar[DataType]
    INT64: typing.ClassVar[DataType]
    INT8: typing.ClassVar[DataType]
    UINT8: typing.ClassVar[DataType]
    __members__: typing.ClassVar[dict[str, DataType]]

    def __eq__(self, other: typing.Any) -> bool:
        ...

    def __getstate__(self) -> int:
        ...

    def __hash__(self) -> int:
        ...

    def __index__(self) -> int:
        ...

    def __init__(self, value: int) -> None:
        ...

    def __int__(self) -> int:
        ...

    def __ne__(self, other: typing.Any) -> bool:
        ...

    def __repr__(self) -> str:
        ...

    def __setstate__(self, state: int) -> None:
        ...

    def __str__(self) -> str:
        ...

    @property
    def itemsize(self):
        ...

    @property
    def name(self) -> str:
        ...

    @property
    def value(self) -> int:
        ...

class Dims:
    MAX_DIMS: typing.ClassVar[int]
    __hash__: typing.ClassVar[None]

    @typing.overload
    def __eq__(self, arg0: list) -> bool:
        ...

    @typing.overload
    def __eq__(self, arg0: tuple) -> bool:
        ...

    @typing.overload
    def __getitem__(self, arg0: int) -> int:
        ...

    @typing.overload
    def __getitem__(self, arg0: typing.Any) -> tuple:
        ...

    @typing.overload
    def __init__(self) -> None:
        ...

    @typing.overload
    def __init__(self, shape: list[int]) -> None:
        ...

    def __len__(self) -> int:
        ...

    def __repr__(self) -> str:
        ...

    @typing.overload
    def __setitem__(self, arg0: int, arg1: int) -> None:
        ...

    @typing.overload
    def __setitem__(self, arg0: typing.Any, arg1: Dims) -> None:
        ...

    def __str__(self) -> str:
        ...

class EngineInspector:
    error_recorder: typing.Any
    execution_context: IExecutionContext

    def get_engine_information(self, format: LayerInformationFormat) -> str:
        ...

    def get_layer_information(self, layer_index: int, format: LayerInformationFormat) -> str:
        ...

class ErrorCode:
    INTERNAL_ERROR: typing.ClassVar[ErrorCode]
    INVALID_GRAPH: typing.ClassVar[ErrorCode]
    INVALID_NODE: typing.ClassVar[ErrorCode]
    INVALID_VALUE: typing.ClassVar[ErrorCode]
    MEM_ALLOC_FAILED: typing.ClassVar[ErrorCode]
    MODEL_DESERIALIZE_FAILED: typing.ClassVar[ErrorCode]
    REFIT_FAILED: typing.ClassVar[ErrorCode]
    SUCCESS: typing.ClassVar[ErrorCode]
    UNSUPPORTED_GRAPH: typing.ClassVar[ErrorCode]
    UNSUPPORTED_NODE: typing.ClassVar[ErrorCode]
    UNSUPPORTED_NODE_ATTR: typing.ClassVar[ErrorCode]
    UNSUPPORTED_NODE_DATATYPE: typing.ClassVar[ErrorCode]
    UNSUPPORTED_NODE_DYNAMIC: typing.ClassVar[ErrorCode]
    UNSUPPORTED_NODE_INPUT: typing.ClassVar[ErrorCode]
    UNSUPPORTED_NODE_SHAPE: typing.ClassVar[ErrorCode]
    __members__: typing.ClassVar[dict[str, ErrorCode]]

    @staticmethod
    def name(*args, **kwargs):
        ...

    def __eq__(self, other: typing.Any) -> bool:
        ...

    def __getstate__(self) -> int:
        ...

    def __hash__(self) -> int:
        ...

    def __index__(self) -> int:
        ...

    def __init__(self, value: int) -> None:
        ...

    def __int__(self) -> int:
        ...

    def __ne__(self, other: typing.Any) -> bool:
        ...

    @typing.overload
    def __repr__(self) -> str:
        ...

    @typing.overload
    def __repr__(self) -> str:
        ...

    def __setstate__(self, state: int) -> None:
        ...

    @typing.overload
    def __str__(self) -> str:
        ...

    @typing.overload
    def __str__(self) -> str:
        ...

    @property
    def value(self) -> int:
        ...

class HardwareCompatibilityLevel:
    AMPERE_PLUS: typing.ClassVar[HardwareCompatibilityLevel]
    NONE: typing.ClassVar[HardwareCompatibilityLevel]
    SAME_COMPUTE_CAPABILITY: typing.ClassVar[HardwareCompatibilityLevel]
    __members__: typing.ClassVar[dict[str, HardwareCompatibilityLevel]]

    def __eq__(self, other: typing.Any) -> bool:
        ...

    def __getstate__(self) -> int:
        ...

    def __hash__(self) -> int:
        ...

    def __index__(self) -> int:
        ...

    def __init__(self, value: int) -> None:
        ...

    def __int__(self) -> int:
        ...

    def __ne__(self, other: typing.Any) -> bool:
        ...

    def __repr__(self) -> str:
        ...

    def __setstate__(self, state: int) -> None:
        ...

    def __str__(self) -> str:
        ...

    @property
    def name(self) -> str:
        ...

    @property
    def value(self) -> int:
        ...

class IBuilderConfig:
    DLA_core: int
    algorithm_selector: typing.Any
    avg_timing_iterations: int
    builder_optimization_level: int
    default_device_type: typing.Any
    engine_capability: typing.Any
    flags: int
    hardware_compatibility_level: HardwareCompatibilityLevel
    int8_calibrator: typing.Any
    l2_limit_for_tiling: int
    max_aux_streams: int
    max_num_tactics: int
    plugins_to_serialize: list[str]
    profile_stream: int
    profiling_verbosity: ProfilingVerbosity
    progress_monitor: IProgressMonitor
    quantization_flags: int
    remote_auto_tuning_config: str
    runtime_platform: typing.Any
    tiling_optimization_level: typing.Any

    @staticmethod
    def __enter__(this):
        ...

    @staticmethod
    def __exit__(this, exc_type, exc_value, traceback):
        ...

    def __del__(self) -> None:
        ...

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        ...

    def can_run_on_DLA(self, layer: ILayer) -> bool:
        ...

    def clear_flag(self, flag: BuilderFlag) -> None:
        ...

    def clear_quantization_flag(self, flag: typing.Any) -> None:
        ...

    def create_timing_cache(self, serialized_timing_cache: typing.Any) -> ITimingCache:
        ...

    def get_calibration_profile(self) -> IOptimizationProfile:
        ...

    def get_device_type(self, layer: ILayer) -> typing.Any:
        ...

    def get_flag(self, flag: BuilderFlag) -> bool:
        ...

    def get_memory_pool_limit(self, pool: MemoryPoolType) -> int:
        ...

    def get_preview_feature(self, feature: typing.Any) -> bool:
        ...

    def get_quantization_flag(self, flag: typing.Any) -> bool:
        ...

    def get_tactic_sources(self) -> int:
        ...

    def get_timing_cache(self) -> ITimingCache:
        ...

    def is_device_type_set(self, layer: ILayer) -> bool:
        ...

    def reset(self) -> None:
        ...

    def reset_device_type(self, layer: ILayer) -> None:
        ...

    def set_calibration_profile(self, profile: IOptimizationProfile) -> bool:
        ...

    def set_device_type(self, layer: ILayer, device_type: typing.Any) -> None:
        ...

    def set_flag(self, flag: BuilderFlag) -> None:
        ...

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        ...

    def set_preview_feature(self, feature: typing.Any, enable: bool) -> None:
        ...

    def set_quantization_flag(self, flag: typing.Any) -> None:
        ...

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        ...

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        ...

    @property
    def num_optimization_profiles(self) -> int:
        ...

class ICudaEngine:
    error_recorder: typing.Any
    weight_streaming_budget: int
    weight_streaming_budget_v2: int

    @staticmethod
    def __enter__(this):
        ...

    @staticmethod
    def __exit__(this, exc_type, exc_value, traceback):
        ...

    def __del__(self) -> None:
        ...

    def __getitem__(self, arg0: int) -> str:
        ...

    def create_engine_inspector(self) -> EngineInspector:
        ...

    @typing.overload
    def create_execution_context(self, strategy: typing.Any=...) -> IExecutionContext:
        ...

    @typing.overload
    def create_execution_context(self, runtime_config: typing.Any=...) -> IExecutionContext:
        ...

    def create_execution_context_without_device_memory(self) -> IExecutionContext:
        ...

    def create_runtime_config(self) -> typing.Any:
        ...

    def create_serialization_config(self) -> typing.Any:
        ...

    def get_device_memory_size_for_profile(self, profile_index: int) -> int:
        ...

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        ...

    @typing.overload
    def get_tensor_bytes_per_component(self, name: str) -> int:
        ...

    @typing.overload
    def get_tensor_bytes_per_component(self, name: str, profile_index: int) -> int:
        ...

    @typing.overload
    def get_tensor_components_per_element(self, name: str) -> int:
        ...

    @typing.overload
    def get_tensor_components_per_element(self, name: str, profile_index: int) -> int:
        ...

    def get_tensor_dtype(self, name: str) -> DataType:
        ...

    @typing.overload
    def get_tensor_format(self, name: str) -> typing.Any:
        ...

    @typing.overload
    def get_tensor_format(self, name: str, profile_index: int) -> typing.Any:
        ...

    @typing.overload
    def get_tensor_format_desc(self, name: str) -> str:
        ...

    @typing.overload
    def get_tensor_format_desc(self, name: str, profile_index: int) -> str:
        ...

    def get_tensor_location(self, name: str) -> TensorLocation:
        ...

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        ...

    def get_tensor_name(self, index: int) -> str:
        ...

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        ...

    def get_tensor_profile_values(self, name: int, profile_index: str) -> list[list[int]]:
        ...

    def get_tensor_shape(self, name: str) -> Dims:
        ...

    @typing.overload
    def get_tensor_vectorized_dim(self, name: str) -> int:
        ...

    @typing.overload
    def get_tensor_vectorized_dim(self, name: str, profile_index: int) -> int:
        ...

    def get_weight_streaming_automatic_budget(self) -> int:
        ...

    def is_debug_tensor(self, name: str) -> bool:
        ...

    def is_shape_inference_io(self, name: str) -> bool:
        ...

    def serialize(self) -> IHostMemory:
        ...

    def serialize_with_config(self, arg0: typing.Any) -> IHostMemory:
        ...

    @property
    def device_memory_size(self) -> int:
        ...

    @property
    def device_memory_size_v2(self) -> int:
        ...

    @property
    def engine_capability(self) -> typing.Any:
        ...

    @property
    def hardware_compatibility_level(self) -> ...:
        ...

    @property
    def has_implicit_batch_dimension(self) -> bool:
        ...

    @property
    def minimum_weight_streaming_budget(self) -> int:
        ...

    @property
    def name(self) -> str:
        ...

    @property
    def num_aux_streams(self) -> int:
        ...

    @property
    def num_io_tensors(self) -> int:
        ...

    @property
    def num_layers(self) -> int:
        ...

    @property
    def num_optimization_profiles(self) -> int:
        ...

    @property
    def profiling_verbosity(self) -> ...:
        ...

    @property
    def refittable(self) -> bool:
        ...

    @property
    def streamable_weights_size(self) -> int:
        ...

    @property
    def tactic_sources(self) -> int:
        ...

    @property
    def weight_streaming_scratch_memory_size(self) -> int:
        ...

class IExecutionContext:
    debug_sync: bool
    enqueue_emits_profile: bool
    error_recorder: typing.Any
    name: str
    nvtx_verbosity: ...
    persistent_cache_limit: int
    profiler: typing.Any
    temporary_allocator: ...
    unfused_tensors_debug_state: bool

    @staticmethod
    def __enter__(this):
        ...

    @staticmethod
    def __exit__(this, exc_type, exc_value, traceback):
        ...

    def __del__(self) -> None:
        ...

    def execute_async_v3(self, stream_handle: int) -> bool:
        ...

    def execute_v2(self, bindings: list[int]) -> bool:
        ...

    def get_debug_listener(self) -> typing.Any:
        ...

    def get_debug_state(self, name: str) -> bool:
        ...

    def get_input_consumed_event(self) -> int:
        ...

    def get_max_output_size(self, name: str) -> int:
        ...

    def get_output_allocator(self, name: str) -> IOutputAllocator:
        ...

    def get_runtime_config(self) -> ...:
        ...

    def get_tensor_address(self, name: str) -> int:
        ...

    def get_tensor_shape(self, name: str) -> Dims:
        ...

    def get_tensor_strides(self, name: str) -> Dims:
        ...

    def infer_shapes(self) -> list[str]:
        ...

    def report_to_profiler(self) -> bool:
        ...

    def set_all_tensors_debug_state(self, flag: bool) -> bool:
        ...

    def set_aux_streams(self, aux_streams: list[int]) -> None:
        ...

    def set_debug_listener(self, listener: typing.Any) -> bool:
        ...

    def set_device_memory(self, memory: int, size: int) -> None:
        ...

    def set_input_consumed_event(self, event: int) -> bool:
        ...

    @typing.overload
    def set_input_shape(self, name: str, shape: tuple) -> bool:
        ...

    @typing.overload
    def set_input_shape(self, name: str, shape: list) -> bool:
        ...

    @typing.overload
    def set_input_shape(self, name: str, shape: Dims) -> bool:
        ...

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        ...

    def set_output_allocator(self, name: str, output_allocator: IOutputAllocator) -> bool:
        ...

    def set_tensor_address(self, name: str, memory: int) -> bool:
        ...

    def set_tensor_debug_state(self, name: str, flag: bool) -> bool:
        ...

    def update_device_memory_size_for_shapes(self) -> int:
        ...

    @property
    def active_optimization_profile(self) -> int:
        ...

    @property
    def all_binding_shapes_specified(self) -> bool:
        ...

    @property
    def all_shape_inputs_specified(self) -> bool:
        ...

    @property
    def engine(self) -> ...:
        ...

class IHostMemory:

    @staticmethod
    def __enter__(this):
        ...

    @staticmethod
    def __exit__(this, exc_type, exc_value, traceback):
        ...

    def __buffer__(self, flags):
        ...

    def __del__(self) -> None:
        ...

    def __release_buffer__(self, buffer):
        ...

    @property
    def dtype(self) -> DataType:
        ...

    @property
    def nbytes(self) -> int:
        ...

class ILayer:
    metadata: str
    name: str
    precision: DataType

    def get_input(self, index: int) -> ITensor:
        ...

    def get_output(self, index: int) -> ITensor:
        ...

    def get_output_type(self, index: int) -> DataType:
        ...

    def output_type_is_set(self, index: int) -> bool:
        ...

    def reset_output_type(self, index: int) -> None:
        ...

    def reset_precision(self) -> None:
        ...

    def set_input(self, index: int, tensor: ITensor) -> None:
        ...

    def set_output_type(self, index: int, dtype: DataType) -> None:
        ...

    @property
    def num_inputs(self) -> int:
        ...

    @property
    def num_outputs(self) -> int:
        ...

    @property
    def precision_is_set(self) -> bool:
        ...

    @property
    def type(self) -> LayerType:
        ...

class ILogger:

    class Severity:
        ERROR: typing.ClassVar[ILogger.Severity]
        INFO: typing.ClassVar[ILogger.Severity]
        INTERNAL_ERROR: typing.ClassVar[ILogger.Severity]
        VERBOSE: typing.ClassVar[ILogger.Severity]
        WARNING: typing.ClassVar[ILogger.Severity]
        __members__: typing.ClassVar[dict[str, ILogger.Severity]]

        def __eq__(self, other: typing.Any) -> bool:
            ...

        def __ge__(self, other: typing.Any) -> bool:
            ...

        def __getstate__(self) -> int:
            ...

        def __gt__(self, other: typing.Any) -> bool:
            ...

        def __hash__(self) -> int:
            ...

        def __index__(self) -> int:
            ...

        def __init__(self, value: int) -> None:
            ...

        def __int__(self) -> int:
            ...

        def __le__(self, other: typing.Any) -> bool:
            ...

        def __lt__(self, other: typing.Any) -> bool:
            ...

        def __ne__(self, other: typing.Any) -> bool:
            ...

        def __repr__(self) -> str:
            ...

        def __setstate__(self, state: int) -> None:
            ...

        def __str__(self) -> str:
            ...

        @property
        def name(self) -> str:
            ...

        @property
        def value(self) -> int:
            ...
    ERROR: typing.ClassVar[ILogger.Severity]
    INFO: typing.ClassVar[ILogger.Severity]
    INTERNAL_ERROR: typing.ClassVar[ILogger.Severity]
    VERBOSE: typing.ClassVar[ILogger.Severity]
    WARNING: typing.ClassVar[ILogger.Severity]

    @staticmethod
    def __enter__(this):
        ...

    @staticmethod
    def __exit__(this, exc_type, exc_value, traceback):
        ...

    def __init__(self) -> None:
        ...

    def log(self, severity: ILogger.Severity, msg: str) -> None:
        ...

class INetworkDefinition:
    error_recorder: ...
    name: str

    @staticmethod
    def __enter__(this):
        ...

    @staticmethod
    def __exit__(this, exc_type, exc_value, traceback):
        ...

    def __del__(self) -> None:
        ...

    def __getitem__(self, arg0: int) -> ILayer:
        ...

    def __len__(self) -> int:
        ...

    def add_activation(self, input: ITensor, type: typing.Any) -> typing.Any:
        ...

    def add_assertion(self, condition: ITensor, message: str) -> typing.Any:
        ...

    def add_cast(self, input: ITensor, to_type: DataType) -> typing.Any:
        ...

    def add_concatenation(self, inputs: list[ITensor]) -> typing.Any:
        ...

    def add_constant(self, shape: Dims, weights: typing.Any) -> typing.Any:
        ...

    def add_convolution_nd(self, input: ITensor, num_output_maps: int, kernel_shape: Dims, kernel: typing.Any, bias: typing.Any=...) -> typing.Any:
        ...

    def add_cumulative(self, input: ITensor, axis: ITensor, op: typing.Any, exclusive: bool, reverse: bool) -> typing.Any:
        ...

    def add_deconvolution_nd(self, input: ITensor, num_output_maps: int, kernel_shape: Dims, kernel: typing.Any, bias: typing.Any=...) -> typing.Any:
        ...

    @typing.overload
    def add_dequantize(self, input: ITensor, scale: ITensor) -> typing.Any:
        ...

    @typing.overload
    def add_dequantize(self, input: ITensor, scale: ITensor, output_type: DataType) -> typing.Any:
        ...

    def add_dynamic_quantize(self, input: ITensor, axis: int, block_size: int, output_type: DataType, scale_type: DataType) -> typing.Any:
        ...

    def add_einsum(self, inputs: list[ITensor], equation: str) -> typing.Any:
        ...

    def add_elementwise(self, input1: ITensor, input2: ITensor, op: typing.Any) -> typing.Any:
        ...

    @typing.overload
    def add_fill(self, shape: Dims, op: typing.Any, output_type: DataType) -> typing.Any:
        ...

    @typing.overload
    def add_fill(self, shape: Dims, op: typing.Any) -> typing.Any:
        ...

    def add_gather(self, input: ITensor, indices: ITensor, axis: int) -> typing.Any:
        ...

    def add_gather_v2(self, input: ITensor, indices: ITensor, mode: typing.Any) -> typing.Any:
        ...

    def add_grid_sample(self, input: ITensor, grid: ITensor) -> typing.Any:
        ...

    def add_identity(self, input: ITensor) -> typing.Any:
        ...

    def add_if_conditional(self) -> typing.Any:
        ...

    def add_input(self, name: str, dtype: DataType, shape: Dims) -> ITensor:
        ...

    def add_loop(self) -> typing.Any:
        ...

    def add_lrn(self, input: ITensor, window: int, alpha: float, beta: float, k: float) -> typing.Any:
        ...

    def add_matrix_multiply(self, input0: ITensor, op0: typing.Any, input1: ITensor, op1: typing.Any) -> typing.Any:
        ...

    def add_nms(self, boxes: ITensor, scores: ITensor, max_output_boxes_per_class: ITensor) -> typing.Any:
        ...

    def add_non_zero(self, input: ITensor) -> typing.Any:
        ...

    def add_normalization(self, input: ITensor, scale: ITensor, bias: ITensor, axesMask: int) -> typing.Any:
        ...

    def add_one_hot(self, indices: ITensor, values: ITensor, depth: ITensor, axis: int) -> typing.Any:
        ...

    def add_padding_nd(self, input: ITensor, pre_padding: Dims, post_padding: Dims) -> typing.Any:
        ...

    def add_parametric_relu(self, input: ITensor, slopes: ITensor) -> typing.Any:
        ...

    @typing.overload
    def add_plugin(self, tuple: tuple) -> typing.Any:
        ...

    @typing.overload
    def add_plugin(self, func: typing.Any) -> typing.Any:
        ...

    @typing.overload
    def add_plugin(self, func: typing.Any, aot: bool) -> typing.Any:
        ...

    def add_plugin_v2(self, inputs: list[ITensor], plugin: typing.Any) -> typing.Any:
        ...

    def add_plugin_v3(self, inputs: list[ITensor], shape_inputs: list[ITensor], plugin: typing.Any) -> typing.Any:
        ...

    def add_pooling_nd(self, input: ITensor, type: typing.Any, window_size: Dims) -> typing.Any:
        ...

    @typing.overload
    def add_quantize(self, input: ITensor, scale: ITensor) -> typing.Any:
        ...

    @typing.overload
    def add_quantize(self, input: ITensor, scale: ITensor, output_type: DataType) -> typing.Any:
        ...

    def add_ragged_softmax(self, input: ITensor, bounds: ITensor) -> typing.Any:
        ...

    def add_reduce(self, input: ITensor, op: typing.Any, axes: int, keep_dims: bool) -> typing.Any:
        ...

    def add_resize(self, input: ITensor) -> typing.Any:
        ...

    def add_reverse_sequence(self, input: ITensor, sequence_lens: ITensor) -> typing.Any:
        ...

    def add_scale(self, input: ITensor, mode: typing.Any, shift: typing.Any=..., scale: typing.Any=..., power: typing.Any=...) -> typing.Any:
        ...

    def add_scale_nd(self, input: ITensor, mode: typing.Any, shift: typing.Any=..., scale: typing.Any=..., power: typing.Any=..., channel_axis: int=...) -> typing.Any:
        ...

    def add_scatter(self, data: ITensor, indices: ITensor, updates: ITensor, mode: typing.Any) -> typing.Any:
        ...

    def add_select(self, condition: ITensor, then_input: ITensor, else_input: ITensor) -> typing.Any:
        ...

    def add_shape(self, input: ITensor) -> typing.Any:
        ...

    def add_shuffle(self, input: ITensor) -> typing.Any:
        ...

    def add_slice(self, input: ITensor, start: Dims, shape: Dims, stride: Dims) -> typing.Any:
        ...

    def add_softmax(self, input: ITensor) -> typing.Any:
        ...

    def add_squeeze(self, input: ITensor, axes: ITensor) -> typing.Any:
        ...

    def add_topk(self, input: ITensor, op: typing.Any, k: int, axes: int) -> typing.Any:
        ...

    def add_unary(self, input: ITensor, op: typing.Any) -> typing.Any:
        ...

    def add_unsqueeze(self, input: ITensor, axes: ITensor) -> typing.Any:
        ...

    def are_weights_marked_refittable(self, name: str) -> bool:
        ...

    def get_flag(self, flag: ...) -> bool:
        ...

    def get_input(self, index: int) -> ITensor:
        ...

    def get_layer(self, index: int) -> ILayer:
        ...

    def get_output(self, index: int) -> ITensor:
        ...

    def is_debug_tensor(self, tensor: ITensor) -> bool:
        ...

    def mark_debug(self, tensor: ITensor) -> bool:
        ...

    def mark_output(self, tensor: ITensor) -> None:
        ...

    def mark_output_for_shapes(self, tensor: ITensor) -> bool:
        ...

    def mark_unfused_tensors_as_debug_tensors(self) -> bool:
        ...

    def mark_weights_refittable(self, name: str) -> bool:
        ...

    def remove_tensor(self, tensor: ITensor) -> None:
        ...

    def set_weights_name(self, weights: typing.Any, name: str) -> bool:
        ...

    def unmark_debug(self, tensor: ITensor) -> bool:
        ...

    def unmark_output(self, tensor: ITensor) -> None:
        ...

    def unmark_output_for_shapes(self, tensor: ITensor) -> bool:
        ...

    def unmark_unfused_tensors_as_debug_tensors(self) -> bool:
        ...

    def unmark_weights_refittable(self, name: str) -> bool:
        ...

    @property
    def builder(self) -> ...:
        ...

    @property
    def flags(self) -> int:
        ...

    @property
    def has_implicit_batch_dimension(self) -> bool:
        ...

    @property
    def num_inputs(self) -> int:
        ...

    @property
    def num_layers(self) -> int:
        ...

    @property
    def num_outputs(self) -> int:
        ...

class IOptimizationProfile:
    extra_memory_target: float

    def __bool__(self) -> bool:
        ...

    def __nonzero__(self) -> bool:
        ...

    def get_shape(self, input: str) -> list[Dims]:
        ...

    def get_shape_input(self, input: str) -> list[list[int]]:
        ...

    def set_shape(self, input: str, min: Dims, opt: Dims, max: Dims) -> None:
        ...

    def set_shape_input(self, input: str, min: list[int], opt: list[int], max: list[int]) -> None:
        ...

class IOutputAllocator:

    def __init__(self) -> None:
        ...

class IProgressMonitor:

    def __init__(self) -> None:
        ...

    def phase_finish(self, phase_name: str) -> None:
        ...

    def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
        ...

    def step_complete(self, phase_name: str, step: int) -> bool:
        ...

class ITensor:
    allowed_formats: int
    broadcast_across_batch: bool
    dtype: DataType
    location: ...
    name: str
    shape: Dims

    def get_dimension_name(self, index: int) -> str:
        ...

    def reset_dynamic_range(self) -> None:
        ...

    def set_dimension_name(self, index: int, name: str) -> None:
        ...

    def set_dynamic_range(self, min: float, max: float) -> bool:
        ...

    @property
    def dynamic_range(self) -> typing.Any:
        ...

    @dynamic_range.setter
    def dynamic_range(self, arg1: list[float]) -> None:
        ...

    @property
    def is_execution_tensor(self) -> bool:
        ...

    @property
    def is_network_input(self) -> bool:
        ...

    @property
    def is_network_output(self) -> bool:
        ...

    @property
    def is_shape_tensor(self) -> bool:
        ...

class ITimingCache:

    def combine(self, input_cache: ITimingCache, ignore_mismatch: bool) -> bool:
        ...

    def query(self, key: typing.Any) -> typing.Any:
        ...

    def queryKeys(self) -> typing.Any:
        ...

    def reset(self) -> bool:
        ...

    def serialize(self) -> IHostMemory:
        ...

    def update(self, key: typing.Any, value: typing.Any) -> bool:
        ...

class LayerInformationFormat:
    JSON: typing.ClassVar[LayerInformationFormat]
    ONELINE: typing.ClassVar[LayerInformationFormat]
    __members__: typing.ClassVar[dict[str, LayerInformationFormat]]

    def __eq__(self, other: typing.Any) -> bool:
        ...

    def __getstate__(self) -> int:
        ...

    def __hash__(self) -> int:
        ...

    def __index__(self) -> int:
        ...

    def __init__(self, value: int) -> None:
        ...

    def __int__(self) -> int:
        ...

    def __ne__(self, other: typing.Any) -> bool:
        ...

    def __repr__(self) -> str:
        ...

    def __setstate__(self, state: int) -> None:
        ...

    def __str__(self) -> str:
        ...

    @property
    def name(self) -> str:
        ...

    @property
    def value(self) -> int:
        ...

class LayerType:
    ACTIVATION: typing.ClassVar[LayerType]
    ASSERTION: typing.ClassVar[LayerType]
    CAST: typing.ClassVar[LayerType]
    CONCATENATION: typing.ClassVar[LayerType]
    CONDITION: typing.ClassVar[LayerType]
    CONDITIONAL_INPUT: typing.ClassVar[LayerType]
    CONDITIONAL_OUTPUT: typing.ClassVar[LayerType]
    CONSTANT: typing.ClassVar[LayerType]
    CONVOLUTION: typing.ClassVar[LayerType]
    CUMULATIVE: typing.ClassVar[LayerType]
    DECONVOLUTION: typing.ClassVar[LayerType]
    DEQUANTIZE: typing.ClassVar[LayerType]
    DYNAMIC_QUANTIZE: typing.ClassVar[LayerType]
    EINSUM: typing.ClassVar[LayerType]
    ELEMENTWISE: typing.ClassVar[LayerType]
    FILL: typing.ClassVar[LayerType]
    GATHER: typing.ClassVar[LayerType]
    GRID_SAMPLE: typing.ClassVar[LayerType]
    IDENTITY: typing.ClassVar[LayerType]
    ITERATOR: typing.ClassVar[LayerType]
    LOOP_OUTPUT: typing.ClassVar[LayerType]
    LRN: typing.ClassVar[LayerType]
    MATRIX_MULTIPLY: typing.ClassVar[LayerType]
    NMS: typing.ClassVar[LayerType]
    NON_ZERO: typing.ClassVar[LayerType]
    NORMALIZATION: typing.ClassVar[LayerType]
    ONE_HOT: typing.ClassVar[LayerType]
    PADDING: typing.ClassVar[LayerType]
    PARAMETRIC_RELU: typing.ClassVar[LayerType]
    PLUGIN: typing.ClassVar[LayerType]
    PLUGIN_V2: typing.ClassVar[LayerType]
    PLUGIN_V3: typing.ClassVar[LayerType]
    POOLING: typing.ClassVar[LayerType]
    QUANTIZE: typing.ClassVar[LayerType]
    RAGGED_SOFTMAX: typing.ClassVar[LayerType]
    RECURRENCE: typing.ClassVar[LayerType]
    REDUCE: typing.ClassVar[LayerType]
    RESIZE: typing.ClassVar[LayerType]
    REVERSE_SEQUENCE: typing.ClassVar[LayerType]
    SCALE: typing.ClassVar[LayerType]
    SCATTER: typing.ClassVar[LayerType]
    SELECT: typing.ClassVar[LayerType]
    SHAPE: typing.ClassVar[LayerType]
    SHUFFLE: typing.ClassVar[LayerType]
    SLICE: typing.ClassVar[LayerType]
    SOFTMAX: typing.ClassVar[LayerType]
    SQUEEZE: typing.ClassVar[LayerType]
    TOPK: typing.ClassVar[LayerType]
    TRIP_LIMIT: typing.ClassVar[LayerType]
    UNARY: typing.ClassVar[LayerType]
    UNSQUEEZE: typing.ClassVar[LayerType]
    __members__: typing.ClassVar[dict[str, LayerType]]

    def __eq__(self, other: typing.Any) -> bool:
        ...

    def __getstate__(self) -> int:
        ...

    def __hash__(self) -> int:
        ...

    def __index__(self) -> int:
        ...

    def __init__(self, value: int) -> None:
        ...

    def __int__(self) -> int:
        ...

    def __ne__(self, other: typing.Any) -> bool:
        ...

    def __repr__(self) -> str:
        ...

    def __setstate__(self, state: int) -> None:
        ...

    def __str__(self) -> str:
        ...

    @property
    def name(self) -> str:
        ...

    @property
    def value(self) -> int:
        ...

class MemoryPoolType:
    DLA_GLOBAL_DRAM: typing.ClassVar[MemoryPoolType]
    DLA_LOCAL_DRAM: typing.ClassVar[MemoryPoolType]
    DLA_MANAGED_SRAM: typing.ClassVar[MemoryPoolType]
    TACTIC_DRAM: typing.ClassVar[MemoryPoolType]
    TACTIC_SHARED_MEMORY: typing.ClassVar[MemoryPoolType]
    WORKSPACE: typing.ClassVar[MemoryPoolType]
    __members__: typing.ClassVar[dict[str, MemoryPoolType]]

    def __eq__(self, other: typing.Any) -> bool:
        ...

    def __getstate__(self) -> int:
        ...

    def __hash__(self) -> int:
        ...

    def __index__(self) -> int:
        ...

    def __init__(self, value: int) -> None:
        ...

    def __int__(self) -> int:
        ...

    def __ne__(self, other: typing.Any) -> bool:
        ...

    def __repr__(self) -> str:
        ...

    def __setstate__(self, state: int) -> None:
        ...

    def __str__(self) -> str:
        ...

    @property
    def name(self) -> str:
        ...

    @property
    def value(self) -> int:
        ...

class NetworkDefinitionCreationFlag:
    EXPLICIT_BATCH: typing.ClassVar[NetworkDefinitionCreationFlag]
    PREFER_AOT_PYTHON_PLUGINS: typing.ClassVar[NetworkDefinitionCreationFlag]
    PREFER_JIT_PYTHON_PLUGINS: typing.ClassVar[NetworkDefinitionCreationFlag]
    STRONGLY_TYPED: typing.ClassVar[NetworkDefinitionCreationFlag]
    __members__: typing.ClassVar[dict[str, NetworkDefinitionCreationFlag]]

    def __eq__(self, other: typing.Any) -> bool:
        ...

    def __ge__(self, other: typing.Any) -> bool:
        ...

    def __getstate__(self) -> int:
        ...

    def __gt__(self, other: typing.Any) -> bool:
        ...

    def __hash__(self) -> int:
        ...

    def __index__(self) -> int:
        ...

    def __init__(self, value: int) -> None:
        ...

    def __int__(self) -> int:
        ...

    def __le__(self, other: typing.Any) -> bool:
        ...

    def __lt__(self, other: typing.Any) -> bool:
        ...

    def __ne__(self, other: typing.Any) -> bool:
        ...

    def __repr__(self) -> str:
        ...

    def __setstate__(self, state: int) -> None:
        ...

    def __str__(self) -> str:
        ...

    @property
    def name(self) -> str:
        ...

    @property
    def value(self) -> int:
        ...

class OnnxParser:
    flags: int

    @staticmethod
    def __enter__(this):
        ...

    @staticmethod
    def __exit__(this, exc_type, exc_value, traceback):
        ...

    def __del__(self) -> None:
        ...

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        ...

    def clear_errors(self) -> None:
        ...

    def clear_flag(self, flag: ...) -> None:
        ...

    def get_error(self, index: int) -> ...:
        ...

    def get_flag(self, flag: ...) -> bool:
        ...

    def get_layer_output_tensor(self, name: str, i: int) -> ITensor:
        ...

    def get_subgraph_nodes(self, index: int) -> list:
        ...

    def get_used_vc_plugin_libraries(self) -> list[str]:
        ...

    def is_subgraph_supported(self, index: int) -> bool:
        ...

    def load_initializer(self, name: str, data: int, size: int) -> bool:
        ...

    def load_model_proto(self, model: typing.Any, path: str=...) -> bool:
        ...

    def parse(self, model: typing.Any, path: str=...) -> bool:
        ...

    def parse_from_file(self, model: str) -> bool:
        ...

    def parse_model_proto(self) -> bool:
        ...

    def parse_with_weight_descriptors(self, model: typing.Any) -> bool:
        ...

    def set_flag(self, flag: ...) -> None:
        ...

    def supports_model(self, model: typing.Any, path: str=...) -> tuple[bool, list[tuple[list[int], bool]]]:
        ...

    def supports_model_v2(self, model: typing.Any, path: str=...) -> bool:
        ...

    def supports_operator(self, op_name: str) -> bool:
        ...

    @property
    def num_errors(self) -> int:
        ...

    @property
    def num_subgraphs(self) -> int:
        ...

class OnnxParserRefitter:

    def __init__(self, refitter: typing.Any, logger: ILogger) -> None:
        ...

    def clear_errors(self) -> None:
        ...

    def get_error(self, index: int) -> ParserError:
        ...

    def load_initializer(self, name: str, data: int, size: int) -> bool:
        ...

    def load_model_proto(self, model: typing.Any, path: str=...) -> bool:
        ...

    def refit_from_bytes(self, model: typing.Any, path: str=...) -> bool:
        ...

    def refit_from_file(self, model: str) -> bool:
        ...

    def refit_model_proto(self) -> bool:
        ...

    @property
    def num_errors(self) -> int:
        ...

class ParserError:

    def __repr__(self) -> str:
        ...

    def __str__(self) -> str:
        ...

    def code(self) -> ErrorCode:
        ...

    def desc(self) -> str:
        ...

    def file(self) -> str:
        ...

    def func(self) -> str:
        ...

    def line(self) -> int:
        ...

    def local_function_stack(self) -> list[str]:
        ...

    def local_function_stack_size(self) -> int:
        ...

    def node(self) -> int:
        ...

    def node_name(self) -> str:
        ...

    def node_operator(self) -> str:
        ...

class ProfilingVerbosity:
    DETAILED: typing.ClassVar[ProfilingVerbosity]
    LAYER_NAMES_ONLY: typing.ClassVar[ProfilingVerbosity]
    NONE: typing.ClassVar[ProfilingVerbosity]
    __members__: typing.ClassVar[dict[str, ProfilingVerbosity]]

    def __eq__(self, other: typing.Any) -> bool:
        ...

    def __getstate__(self) -> int:
        ...

    def __hash__(self) -> int:
        ...

    def __index__(self) -> int:
        ...

    def __init__(self, value: int) -> None:
        ...

    def __int__(self) -> int:
        ...

    def __ne__(self, other: typing.Any) -> bool:
        ...

    def __repr__(self) -> str:
        ...

    def __setstate__(self, state: int) -> None:
        ...

    def __str__(self) -> str:
        ...

    @property
    def name(self) -> str:
        ...

    @property
    def value(self) -> int:
        ...

class Runtime:
    DLA_core: int
    engine_host_code_allowed: bool
    error_recorder: typing.Any
    max_threads: int
    tempfile_control_flags: int
    temporary_directory: str

    @staticmethod
    def __enter__(this):
        ...

    @staticmethod
    def __exit__(this, exc_type, exc_value, traceback):
        ...

    def __del__(self) -> None:
        ...

    def __init__(self, logger: ILogger) -> None:
        ...

    @typing.overload
    def deserialize_cuda_engine(self, serialized_engine: typing.Any) -> ICudaEngine:
        ...

    @typing.overload
    def deserialize_cuda_engine(self, stream_reader: typing.Any) -> ICudaEngine:
        ...

    @typing.overload
    def deserialize_cuda_engine(self, stream_reader_v2: typing.Any) -> ICudaEngine:
        ...

    def get_plugin_registry(self) -> typing.Any:
        ...

    def load_runtime(self, path: str) -> Runtime:
        ...

    @property
    def logger(self) -> ILogger:
        ...

    @property
    def num_DLA_cores(self) -> int:
        ...

class TensorIOMode:
    INPUT: typing.ClassVar[TensorIOMode]
    NONE: typing.ClassVar[TensorIOMode]
    OUTPUT: typing.ClassVar[TensorIOMode]
    __members__: typing.ClassVar[dict[str, TensorIOMode]]

    def __eq__(self, other: typing.Any) -> bool:
        ...

    def __getstate__(self) -> int:
        ...

    def __hash__(self) -> int:
        ...

    def __index__(self) -> int:
        ...

    def __init__(self, value: int) -> None:
        ...

    def __int__(self) -> int:
        ...

    def __ne__(self, other: typing.Any) -> bool:
        ...

    def __repr__(self) -> str:
        ...

    def __setstate__(self, state: int) -> None:
        ...

    def __str__(self) -> str:
        ...

    @property
    def name(self) -> str:
        ...

    @property
    def value(self) -> int:
        ...

class TensorLocation:
    DEVICE: typing.ClassVar[TensorLocation]
    HOST: typing.ClassVar[TensorLocation]
    __members__: typing.ClassVar[dict[str, TensorLocation]]

    def __eq__(self, other: typing.Any) -> bool:
        ...

    def __getstate__(self) -> int:
        ...

    def __hash__(self) -> int:
        ...

    def __index__(self) -> int:
        ...

    def __init__(self, value: int) -> None:
        ...

    def __int__(self) -> int:
        ...

    def __ne__(self, other: typing.Any) -> bool:
        ...

    def __repr__(self) -> str:
        ...

    def __setstate__(self, state: int) -> None:
        ...

    def __str__(self) -> str:
        ...

    @property
    def name(self) -> str:
        ...

    @property
    def value(self) -> int:
        ...
