"""The whole configuration of a run: one typed, checked object, declared here and nowhere else.

Options of a data set are declared with its reader (``benchmark/data/<name>.py``), those of a method with its search
space (``search_spaces/<name>.py``); both appear here as what they have in common.
"""

from typing import Any, Literal

from pydantic import SerializeAsAny, field_validator

from benchmark.config.cluster import MOST_CORES, ClusterOptions, LocalCluster
from benchmark.config.options import MOST, MethodOptions, Options, option

Protocol = Literal["cross_validation", "val", "val_labels"]
LONGEST_NAME = 200  # bytes: file systems take 255, and a run that is replaced gets a longer one
Part = int | float


def _each_once(values: list[Any]) -> list[Any]:
    """ValueError for a value that a list has twice."""
    for k, value in enumerate(values):
        if value in values[:k]:
            raise ValueError(f"{value!r} is given twice; leave one of them out")
    return values


class SplitOptions(Options):
    """Which subjects or windows serve which end; see ``benchmark.data.splits.make_splits``."""

    kind: Literal["subjects", "kfold", "leave-one-subject-out", "paper", "blocked"] = option(
        "subjects",
        "subjects: of the sizes below | kfold: each subject in test once | leave-one-subject-out | paper: the "
        "published sizes | blocked: blocks of time within recordings, with gaps",
    )
    train: Part = option(0.33, "for the teacher: a fraction or a number", gt=0)
    val: Part = option(0.12, "for choosing", gt=0)
    pair: Part = option(0.33, "for the transfer", gt=0)
    test: Part = option(0.22, "read once, at the end", gt=0)
    folds: int = option(5, "of kind=kfold", ge=2)
    units: Literal["subjects", "windows"] = option("subjects", "of kind=paper; parts by windows leak, and say so")
    block_seconds: Part = option(30, "of kind=blocked", gt=0)


class DataOptions(Options):
    """What all data sets have; a reader's own options are a subclass."""

    name: str = option("", "data set")
    split: SplitOptions = option(SplitOptions(), "of the windows")


class EncoderOptions(Options):
    """One side's foundation model."""

    name: str = option("", "encoder; python -m benchmark.encoders list shows them")
    modality: str = option("", "of the data set")
    preset: str = option("tiny", "size")
    weights: str = option("local", "local: trained here on unlabelled windows | released | random | a file")


class PretrainingOptions(Options):
    """How weights=local are trained: from a part of each unlabelled window, every block describes the whole window."""

    steps: int = option(400, "optimiser steps", ge=1)
    batch_size: int = option(32, "windows a step", ge=2)
    learning_rate: float = option(5e-3, "peak of a one-cycle schedule of AdamW", gt=0)
    weight_decay: float = option(0.01, "of AdamW", ge=0)
    stretch: float = option(1.33, "windows are made up to so many times slower or faster; 1: never", ge=1, le=2)
    views: int = option(4, "differently stretched views of each window, one after the other over the epochs", ge=1)
    masked: float = option(0.2, "fraction of each window that is hidden, in spans", ge=0, lt=1)
    span_seconds: float = option(0.5, "length of a hidden span", gt=0)
    tokens: int = option(48, "most tokens of a window that a transformer over a set of tokens sees at once", ge=1)


class TeacherOptions(Options):
    """The model that listens to the old modality."""

    training: Literal["probe", "finetune"] = option(
        "probe", "probe: frozen encoder, linear head | finetune: all weights"
    )
    solver: Literal["lbfgs", "adam"] = option(
        "lbfgs", "of the probe: lbfgs (penalty by cross-validation over training subjects) | adam (the paper's)"
    )
    learning_rate: float = option(1e-4, "of adam and of fine-tuning", gt=0)
    epochs: int = option(30, "of adam and of fine-tuning", ge=1)
    batch_size: int = option(32, "of adam and of fine-tuning", ge=1)
    class_weighted: bool = option(True, "weights 1 / count")


class WearerOptions(Options):
    """What calibration to the wearer takes."""

    sides: Literal["both", "old", "new"] = option("both", "whose features are standardised within each wearer")
    shrinkage: float = option(4.0, "windows that the population counts as, in a wearer's mean and variance", ge=0)
    warm_up: float = option(60.0, "of calibration=causal: seconds before his own windows count", ge=0)
    first: float | None = option(
        None, "of calibration=wearer: only his windows of the first so many seconds; null: all", gt=0
    )


class SearchOptions(Options):
    """What is searched for every method alike."""

    space: Literal["default", "paper"] = option("default", "paper: exactly the published point, in one trial")
    trials: int = option(12, "per method and searched fold", ge=1)
    sampler: Literal["tpe", "multivariate_tpe", "random", "grid", "nsga2", "cmaes"] = option(
        "tpe", "who suggests configurations; grid: over the published values; cmaes: through numbers, words at random"
    )
    warm_start: str | None = option(
        None,
        "tried first: paper, the direction's published point where the space has it; or the best of another run",
        accepts="paper or the folder of another run",
    )
    folds: Literal["each", "first"] = option(
        "each",
        "each: search in every fold | first: use what the first fold chose in all, though its subjects are in their "
        "tests",
    )
    objectives: list[Literal["agreement", "trainable_parameters", "stored_parameters"]] = option(
        ["agreement"],
        "what the sampler goes by: agreement with the teacher, first, and of what it wants little beside that",
        accepts="[agreement], or a list that goes on with trainable_parameters or stored_parameters",
    )
    rule: Literal["one_standard_error", "best"] = option(
        "one_standard_error",
        "of protocol=cross_validation; one_standard_error: the fewest trained parameters within one standard error of "
        "the best | best: the best",
    )
    min_reduction: float | None = option(
        0.85,
        "least share of the whole new model's trainable parameters that a method which claims to save must save; null: "
        "none",
        ge=0,
        lt=1,
    )
    batch: int = option(4, "suggested together; the same number gives the same search on any machine", ge=1)
    scheduler: Literal["none", "asha", "median"] = option("none", "stops poor trials early")
    reports: int = option(4, "how often a trial reports before it ends, which is when a scheduler can stop it", ge=1)
    max_failures: int = option(2, "how often a trial is tried again that was lost with its process or node", ge=0)

    @field_validator("objectives")
    @classmethod
    def _check_objectives(cls, objectives: list[Any]) -> list[Any]:
        if objectives[:1] != ["agreement"]:
            raise ValueError("give agreement first, such as [agreement,trainable_parameters]")
        return _each_once(objectives)


class FinalOptions(Options):
    """The evaluation on test of what was chosen."""

    seeds: list[int] = option(
        [0, 1, 2], "of the chosen configuration", accepts="a list of whole numbers such as [0,1,2]"
    )

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: list[int]) -> list[int]:
        if not seeds or min(seeds) < 0 or max(seeds) > MOST:
            raise ValueError(f"give a list of whole numbers from 0 to {MOST} such as [0,1,2]")
        return _each_once(seeds)


class FeatureOptions(Options):
    """Outputs of the frozen encoders, computed once and kept in the cache."""

    batch_size: int | None = option(
        None, "windows at once; null: 8 on a CPU (more leaves its cache), 64 elsewhere", ge=1
    )
    dtype: Literal["float32", "bfloat16"] = option(
        "float32", "float32: as computed | bfloat16: half the size, values within 2**-8 of themselves"
    )


class Config(Options):
    """The configuration of a run."""

    name: str = option("", "results/<name>")
    experiment: str = option("", "what all this starts from: conf/experiment/<name>.yaml")
    shape: Literal["wesad", "isruc", "fog"] | None = option(
        None, "the shape that data=simulated take in this experiment"
    )
    results: str = option("results", "folder of all runs")
    cache: str = option("results/.cache", "data, weights, teachers and features that runs share")
    seed: int = option(0, "of splits, pre-training, teacher and search", ge=0, le=MOST)
    resume: bool = option(False, "finish an interrupted run")
    overwrite: bool = option(False, "replace an unfinished run or one of another configuration")
    device: Literal["cpu", "cuda"] = option(
        "cpu",
        "what encoders and methods run on",
        accepts="cpu or cuda; on a machine with several GPUs CUDA_VISIBLE_DEVICES says which, and Ray gives each trial "
        "its own",
    )
    threads: int = option(
        1,
        "of torch and BLAS in every process that computes; another number gives other last digits",
        ge=1,
        le=MOST_CORES,
    )
    protocol: Protocol = option(
        "cross_validation",
        "what chooses configurations and epochs: agreement with the teacher's pseudo-labels, each class weighing the "
        "same, in folds over the subjects of pair and val, then training on all of them | val: the same agreement on "
        "val alone | val_labels: the true labels of val",
    )
    methods: list[str] = option(
        ["bridge", "kd_logits", "probe_hard", "ridge", "knn"],
        "searched with the same number of trials",
        accepts="a list such as [bridge,kd_logits], or all",
    )
    references: list[str] = option(
        ["majority", "teacher", "oracle_probe", "oracle_finetune"],
        "floors and ceilings, evaluated without a search",
        accepts="a list such as [teacher,oracle_probe]",
    )
    calibration: list[Literal["none", "wearer", "causal"]] = option(
        ["none"],
        "features standardised within each wearer, without labels; none | wearer: by all of his windows | causal: by "
        "those before the one judged; several are run side by side",
        accepts="none, wearer or causal, or a list of them",
    )
    wearer: WearerOptions = option(WearerOptions(), "")
    data: SerializeAsAny[DataOptions]
    old: EncoderOptions = option(EncoderOptions(), "of the modality that has labels and a teacher")
    new: EncoderOptions = option(EncoderOptions(), "of the modality that people would rather wear")
    pretraining: PretrainingOptions = option(PretrainingOptions(), "")
    teacher: TeacherOptions = option(TeacherOptions(), "")
    search: SearchOptions = option(SearchOptions(), "")
    final: FinalOptions = option(FinalOptions(), "")
    features: FeatureOptions = option(FeatureOptions(), "")
    cluster: SerializeAsAny[ClusterOptions] = option(LocalCluster(), "")
    method_options: dict[str, SerializeAsAny[MethodOptions]] = option(
        {}, "by method; on the command line <method>.<option>"
    )

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not name or name.startswith(".") or "/" in name or len(name.encode()) > LONGEST_NAME:
            raise ValueError(
                f"{name!r} cannot be used; give a folder name of at most {LONGEST_NAME} bytes without slashes"
            )
        return name

    @field_validator("results", "cache")
    @classmethod
    def _check_folder(cls, folder: str) -> str:
        if not folder:
            raise ValueError("'' cannot be used; give a folder, . for the one that you are in")
        return folder

    @field_validator("calibration", mode="before")
    @classmethod
    def _as_list(cls, calibration: Any) -> Any:
        return [calibration] if isinstance(calibration, str) else calibration

    @field_validator("calibration")
    @classmethod
    def _check_calibration(cls, calibration: list[Any]) -> list[Any]:
        if not calibration:
            raise ValueError("[] cannot be used; give none, wearer or causal, or a list of them")
        return _each_once(calibration)

    @field_validator("methods")
    @classmethod
    def _check_methods(cls, methods: list[str]) -> list[str]:
        if not methods:
            raise ValueError("[] cannot be used; give a list such as [bridge,kd_logits], or all")
        return _each_once(methods)

    @field_validator("references")
    @classmethod
    def _check_references(cls, references: list[str]) -> list[str]:
        return _each_once(references)

    def plain(self) -> dict[str, Any]:
        """As it stands in ``config.yaml``: plain values, and under its name the options of every method that runs."""
        found = self.model_dump()
        options = found.pop("method_options")
        return {**found, **{name: options[name] for name in (*self.methods, *self.references) if options.get(name)}}
