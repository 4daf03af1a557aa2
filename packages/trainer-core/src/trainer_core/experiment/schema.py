"""The experiment file as frozen Pydantic models: which keys exist and what they accept.

Components stay plain mappings with `_type_`; their parameters are checked one by one against
their own constructors. The sections `trainer`, `data` and `evaluation` hold keys of the engine
and of their component side by side: here the component's part is gathered in `component`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

__all__ = [
    "COMPONENT_BODIES",
    "NO_INITIALIZER",
    "SCHEMA_VERSION",
    "CompileSection",
    "ComponentSection",
    "DataSection",
    "EvaluationSection",
    "ExperimentConfig",
    "OptimizerSection",
    "ParameterGroup",
    "PluginsSection",
    "RunSection",
    "Settings",
    "Spec",
    "TrainerSection",
]

SCHEMA_VERSION = 1
COMPONENT_BODIES = ("config", "sequential", "graph", "_type_")
"""The keys that say what a component of `models` is; exactly one of them is present."""

DEFAULT_INITIALIZER = "xavier"
"""What `init: true` means."""
NO_INITIALIZER = "none"
"""What `init:` may say besides the names of components: the modules' own initialisation stays."""

Spec: TypeAlias = dict[str, Any]
"""A component: `_type_` with its full id (`loss.torch`), and its parameters."""

Device = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|mps|cuda(:[0-9]+)?)$")]
Name = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f\x7f]*$")]
Positive = Annotated[int, Field(ge=1)]
Threads = Annotated[int, Field(ge=1, le=1024)]  # far more of them crash OpenMP
Count = Annotated[int, Field(ge=0)]
CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
Topic = Literal[
    "batch_size",
    "data",
    "loss",
    "model",
    "optimizer",
    "precision",
    "schedule",
    "seed",
    "trainer",
]
"""What a run must have in common with the checkpoint that it goes on from."""
BatchSize = Annotated[int, Field(ge=1, le=1 << 24)]  # indices alone of more are no batch
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    # One validator, that of the whole file, is built when a file is validated.
    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), defer_build=True
    )


class _MixedSection(_Section):
    """A section whose keys belong to the engine or to a component."""

    component: Spec = Field(description="The component: `_type_` and its own parameters.")

    @model_validator(mode="before")
    @classmethod
    def _gather_component(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        engine = cls.engine_keys()
        section = {key: value for key, value in data.items() if key in engine}
        section["component"] = {key: value for key, value in data.items() if key not in engine}
        return section

    @classmethod
    def engine_keys(cls) -> frozenset[str]:
        """Return the keys of this section that the engine reads itself."""
        return frozenset(cls.model_fields) - {"component"}


class RunSection(_Section):
    """`run:`: where a run writes and what it runs on."""

    name: Name = Field(description="The run's name in logs and reports.")
    out_dir: Name = Field(description="The run folder, relative to the working folder.")
    seed: Count = Field(0, description="Seeds the weights, the sample order and all noise.")
    device: Device = Field("auto", description="auto, cpu, cuda, cuda:N or mps.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Number format of the forward pass; auto: bf16 where it is fast."
    )
    deterministic: bool = Field(False, description="Use only deterministic kernels; slower.")
    resume: str | Count = Field(
        "auto", description="auto, none, best, a step, or a checkpoint's path."
    )
    allow: tuple[Topic, ...] = Field(
        (), description="What may differ from the checkpoint that the run goes on from."
    )
    threads: Threads | None = Field(
        None, description="CPU threads of torch; null: the processors that loaders leave."
    )
    peak_tflops: PositiveFloat | None = Field(
        None,
        description="What the device computes at most, in 10^12 FLOP/s, for `mfu` in the log; "
        "null: as known of some CUDA devices, else no mfu.",
    )
    watchdog_s: PositiveFloat | None = Field(
        600.0,
        description="End the process, with the stacks of its threads, after so many seconds "
        "without a step, validation batch, episode or save; null: never.",
    )
    slurm_requeue: bool = Field(
        False,
        description="Put a job of SLURM that a signal other than Ctrl-C ended back into the queue, "
        "once its state is saved.",
    )


class TrainerSection(_MixedSection):
    """`trainer:`: how long to train and how often to report, and the trainer's parameters."""

    max_steps: Positive | None = Field(None, description="Optimizer steps of the whole run.")
    max_epochs: PositiveFloat | None = Field(None, description="Passes over the data instead.")
    max_time_s: PositiveFloat | None = Field(None, description="Stop after this time, in seconds.")
    log_every_n_steps: Positive = Field(50, description="Steps between two logged lines.")
    val_every_n_steps: Positive | None = Field(
        None, description="Steps between two validations; null: only at the end of the run."
    )
    limit_val_batches: Positive | None = Field(
        None, description="Validate on so many batches only; null: on the whole split."
    )
    overfit_batches: Positive | None = Field(
        None,
        description="Train and validate on the first so many batches only: can it be learnt?",
    )
    grad_accum_steps: Positive = Field(
        1, description="Micro-batches of a step; the global batch stays data.batch_size."
    )
    grad_clip_norm: PositiveFloat | dict[str, PositiveFloat] | None = Field(
        None,
        description="Largest L2 norm of the gradient; a mapping has one for each component that "
        "it names; null: not clipped.",
    )
    grad_clip_value: PositiveFloat | None = Field(
        None, description="Largest absolute value in the gradient, after its norm; null: any."
    )
    on_nonfinite: Literal["stop", "skip", "rollback"] = Field(
        "stop",
        description="What to do about a loss or gradient that is not finite: stop, skip the step, "
        "or go back to the last checkpoint and leave the step out.",
    )
    grad_clip_scope: Literal["global", "component"] = Field(
        "global",
        description="Whether grad_clip_norm is for all components together or for each of them.",
    )


class DataSection(_MixedSection):
    """`data:`: the loader's settings and the data set factory's parameters."""

    batch_size: BatchSize = Field(description="Samples of one optimizer step, over all ranks.")
    num_workers: Count = Field(0, description="Loader processes; 0: load in the training process.")


class EvaluationSection(_MixedSection):
    """`evaluation:`: when to evaluate, and the evaluator's parameters."""

    every: Count = Field(0, description="Steps between two evaluations; 0: only at the end.")


class ParameterGroup(_Section):
    """One entry of `optimizer.groups`: which parameters, and what is different for them."""

    match: Name = Field(description="Pattern of parameter names, `component/name`; * is anything.")
    settings: dict[str, Any] = Field(description="What the optimizer shall use for them.")

    @model_validator(mode="before")
    @classmethod
    def _gather_settings(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        section = {"match": data["match"]} if "match" in data else {}
        return {**section, "settings": {k: v for k, v in data.items() if k != "match"}}


class OptimizerSection(_MixedSection):
    """`optimizer:`: settings of some of the parameters, and the optimizer's own."""

    groups: list[ParameterGroup] = Field(
        default_factory=list,
        description="Settings for some parameters, `{match: '*.bias', weight_decay: 0.0}`; of "
        "several patterns that match one, the first counts.",
    )
    no_decay: Literal["norm_and_bias"] | None = Field(
        None,
        description="norm_and_bias: no weight decay for parameters of fewer than two dimensions "
        "that no group has.",
    )

    def describe(self) -> Spec:
        """Return the section as it stands in the file."""
        said: Spec = dict(self.component)
        if self.groups:
            said["groups"] = [f"{group.match}: {group.settings}" for group in self.groups]
        return said if self.no_decay is None else {**said, "no_decay": self.no_decay}


class CompileSection(_Section):
    """`models.NAME.compile`: how `torch.compile` translates a component."""

    backend: Name = Field("inductor", description="What it is translated to; eager: nothing.")
    mode: CompileMode | None = Field(
        None, description="How much time inductor takes to find faster code."
    )
    fullgraph: bool = Field(
        False, description="Refuse a component that breaks into several graphs."
    )
    dynamic: bool | None = Field(None, description="Whether shapes may change; null: try.")


def _compile_section(value: Any) -> Any:
    """Return what `true` and `false` stand for."""
    if isinstance(value, bool):
        return {} if value else None
    return value


class ComponentSection(_Section):
    """One entry of `models:`: what it is built from, and how it is initialised and trained.

    Attributes:
        body: The one key of `config`, `sequential`, `graph`, `_type_` that was given, with its
            value; for `_type_` also the block's parameters.
    """

    ENGINE_KEYS: ClassVar[frozenset[str]] = frozenset(
        {
            "init",
            "freeze",
            "weights",
            "optimizer",
            "scheduler",
            "compile",
            "activation_checkpointing",
            "params",
        }
    )

    body: dict[str, Any] = Field(description="The model, in the model file's grammar.")
    init: bool | str | None = Field(
        None,
        description="Initialiser of the weights: xavier, kaiming or another installed one; "
        "true: xavier; none, false or null: the modules' own.",
    )
    freeze: bool = Field(False, description="Never trained: eval mode, no gradients, not wrapped.")
    weights: Name | None = Field(
        None, description="A checkpoint or safetensors file to take the weights from."
    )
    optimizer: OptimizerSection | None = Field(
        None, description="Its own optimizer; null: the shared one."
    )
    scheduler: Spec | None = Field(
        None, description="Its own learning-rate schedule; null: the shared one."
    )
    compile: Annotated[CompileSection | None, BeforeValidator(_compile_section)] = Field(
        None,
        description="Translate its forward pass with torch.compile: true, or a mapping of "
        "backend, mode, fullgraph and dynamic; false or null: not.",
    )
    activation_checkpointing: bool = Field(
        False,
        description="Compute its blocks again in the backward pass; less memory, about a third "
        "more time.",
    )
    params: dict[str, Any] = Field(
        default_factory=dict, description="Values for the `params` of the model file."
    )

    @property
    def initializer(self) -> str | None:
        """Name of the component that initialises the weights; None: the modules do it."""
        if self.init is True:
            return DEFAULT_INITIALIZER
        return None if self.init in {None, False, NO_INITIALIZER} else str(self.init)

    @model_validator(mode="before")
    @classmethod
    def _gather_body(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        section = {key: value for key, value in data.items() if key in cls.ENGINE_KEYS}
        section["body"] = {key: value for key, value in data.items() if key not in cls.ENGINE_KEYS}
        return section


class PluginsSection(_Section):
    """`plugins:`: which installed components may be used."""

    disable: tuple[str, ...] = Field((), description="Wheels or `kind.name` never to be loaded.")
    prefer: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="Which wheel wins a name that two bring: {kind: {name: wheel}}.",
    )


class Settings(_Section):
    """`settings:`: how strictly the file is read."""

    strict: bool = Field(
        True, description="Refuse blocks whose signature cannot be read; false: pass those."
    )
    signature_policy: Literal["strict", "best_effort", "runtime"] | None = Field(
        None,
        description="strict, best_effort or runtime: how a block's arguments are checked; "
        "null: as `strict` says.",
    )
    allow_target: bool = Field(False, description="Allow `_target_`, an import by its path.")
    allowed_import_prefixes: tuple[str, ...] = Field(
        (), description="What `_target_` may import, by the start of its path."
    )


class ExperimentConfig(_Section):
    """A validated experiment file.

    Attributes:
        models: The components by name; a single `model:` is the component `model`.
    """

    schema_version: Literal[1] = Field(1, description="Version of this format.")
    params: dict[str, Any] = Field(
        default_factory=dict, description="Free values for `${params.name}`."
    )
    run: RunSection = Field(description="Where the run writes and what it runs on.")
    runner: Spec = Field(
        default_factory=lambda: {"_type_": "runner.local"}, description="How processes start."
    )
    models: dict[str, ComponentSection] = Field(description="The model's components by name.")
    data: DataSection = Field(description="The data set and its loader.")
    io: Spec | None = Field(None, description="Which parts of a batch the model and loss take.")
    loss: Spec | None = Field(None, description="The loss.")
    optimizer: OptimizerSection | None = Field(
        None, description="Optimizer of every trained component without its own."
    )
    scheduler: Spec | None = Field(None, description="Learning-rate schedule of the optimizers.")
    trainer: TrainerSection = Field(description="What a step does and how many there are.")
    evaluation: EvaluationSection | None = Field(None, description="Measuring the policy.")
    callbacks: tuple[Spec, ...] = Field((), description="Callbacks, called in this order.")
    loggers: tuple[Spec, ...] = Field(
        ({"_type_": "log.stdout"}, {"_type_": "log.jsonl"}), description="Where metrics go."
    )
    metrics: tuple[Spec, ...] = Field((), description="Metrics of the validation batches.")
    plugins: PluginsSection = Field(
        default_factory=PluginsSection, description="Which installed components may be used."
    )
    settings: Settings = Field(default_factory=Settings, description="How the file is read.")
