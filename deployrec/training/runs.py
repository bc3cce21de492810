"""Run folders: runs/MODEL/TIME/ with run.json, weights.safetensors, items.csv, and checkpoints while training."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

import deployrec
from deployrec.data import Dataset, load_dataset, write_items
from deployrec.errors import RunError
from deployrec.files import atomic_write
from deployrec.models import ModelClass, SequentialRecommender, build_model, class_spec, identity, model_class, spec_of
from deployrec.training.config import TrainingConfig

SCHEMA = 1
RUN_FILE, WEIGHTS_FILE, ITEMS_FILE = "run.json", "weights.safetensors", "items.csv"


@dataclass(frozen=True)
class DataSource:
    """Where a data set comes from: `load_dataset`'s source and options, so that a run can load it again."""

    source: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.is_sample:
            object.__setattr__(self, "source", str(Path(self.source).absolute()))

    @property
    def is_sample(self) -> bool:
        """Whether this is the built-in data set, whose best possible figures are known."""
        return self.source == "sample"

    def load(self) -> Dataset:
        return load_dataset(self.source, **self.options)


@dataclass(frozen=True)
class Run:
    """One training run on disk; `record` is the content of its run.json."""

    path: Path
    record: dict[str, Any]

    @classmethod
    def create(
        cls,
        root: str | Path,
        model: SequentialRecommender,
        data: DataSource,
        dataset: Dataset,
        preset: str,
        training: TrainingConfig,
    ) -> Run:
        """Makes the folder root/MODEL/TIME with an unfinished run.json and items.csv."""
        record = {
            "schema": SCHEMA,
            "model": identity(model),
            "data": {**asdict(data), **dataset.summary()},
            "preset": preset,
            "seed": training.seed,
            "training": training.to_dict(),
            "metrics": {},
            "versions": {
                "deployrec": deployrec.__version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
            },
            "finished": False,
        }
        try:
            run = cls(_new_folder(Path(root) / model.key), record)
            write_items(dataset.items, run.path / ITEMS_FILE)
            run._write_record()
        except OSError as error:
            raise cannot_write(root, error) from error
        return run

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """The run in folder `path`; RunError where there is none, or one that this version cannot read."""
        file = Path(path) / RUN_FILE
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"expected a run folder with {RUN_FILE}; got {path}; name one under runs/MODEL/") from error
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            raise RunError(f"expected a run of schema {SCHEMA} in {file}; got another; train again with this version")
        return cls(Path(path), record)

    @property
    def finished(self) -> bool:
        return bool(self.record["finished"])

    @property
    def model_key(self) -> str:
        return str(self.record["model"]["key"])

    @property
    def model_spec(self) -> str:
        """What `--model` finds the run's class by: the key, or "package.module:Class"."""
        return spec_of(self.record["model"])

    @property
    def preset(self) -> str:
        return str(self.record["preset"])

    @property
    def metrics(self) -> dict[str, Any]:
        """{"validation" | "test": `Report.to_dict()`} of a finished run."""
        return dict(self.record["metrics"])

    @property
    def training(self) -> TrainingConfig:
        try:
            return TrainingConfig(**self.record["training"])
        except TypeError as error:
            raise RunError(
                f"expected settings that this version knows in {self.path}; got others ({error}); train again"
            ) from error

    @property
    def source(self) -> DataSource:
        return DataSource(self.record["data"]["source"], self.record["data"]["options"])

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def dataset(self) -> Dataset:
        """The run's data, loaded again; RunError if it is no longer the same."""
        dataset = self.source.load()
        self.check_data(dataset)
        return dataset

    def check_data(self, dataset: Dataset) -> None:
        """RunError unless `dataset` has the digest of the data that the run was trained on."""
        check_digest(dataset, self.record["data"]["digest"], self.path)

    def untrained_model(self) -> SequentialRecommender:
        """A freshly initialised model of the run's configuration."""
        return build_model(self.model_spec, self.record["data"]["num_items"], self.record["model"]["config"])

    def model(self) -> SequentialRecommender:
        """The trained model in eval mode; RunError if it is unfinished or its weights do not fit or are not finite."""
        if not self.finished:
            raise RunError(
                f"expected a finished run; got {self.path}, which was interrupted; "
                f"finish it with `deployrec train --resume {self.path}`"
            )
        file, model = self.path / WEIGHTS_FILE, self.untrained_model()
        try:
            weights = safetensors.torch.load_file(file)
            model.load_state_dict(weights)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise RunError(
                f"expected the weights of {self.model_key} in {file}; got a file that does not fit; train again"
            ) from error
        for name, tensor in weights.items():
            if not bool(torch.isfinite(tensor).all()):
                raise RunError(f"expected finite weights in {file}; got NaN or infinity in {name}; train again")
        return model.eval()

    def finish(self, model: SequentialRecommender, metrics: Mapping[str, Any], facts: Mapping[str, Any]) -> Run:
        """Writes the weights, marks the run finished with its metrics and `facts`, and drops its checkpoints."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        run = Run(self.path, {**self.record, **facts, "metrics": dict(metrics), "finished": True})
        try:
            atomic_write(self.path / WEIGHTS_FILE, safetensors.torch.save(weights))
            run._write_record()
        except OSError as error:
            raise cannot_write(self.path, error) from error
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        return run

    def _write_record(self) -> None:
        text = json.dumps(self.record, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        atomic_write(self.path / RUN_FILE, text)


def check_digest(dataset: Dataset, expected: str, trained: Path) -> None:
    """RunError unless `dataset` has the digest `expected` by what was trained on it."""
    if dataset.digest != expected:
        raise RunError(
            f"expected the data of {trained} (digest {expected[:12]}); got {dataset.name} with digest "
            f"{dataset.digest[:12]}; pass the same log and options with --data, or train on this one"
        )


def newest_finished(root: str | Path, model: str | ModelClass) -> Run | None:
    """The newest finished run of `model` under `root`, if there is one."""
    return next((run for run in _newest_first(root, model) if run.finished), None)


def newest_unfinished(root: str | Path, model: str | ModelClass, dataset: Dataset, before: Run) -> Run | None:
    """The run of `model` on this data that came last before `before`, if it was interrupted after its first epoch."""
    for run in _newest_first(root, model):
        if run.path.name < before.path.name and run.record["data"]["digest"] == dataset.digest:
            return None if run.finished or not any(run.checkpoints.glob("*.ckpt")) else run
    return None


def _newest_first(root: str | Path, model: str | ModelClass) -> list[Run]:
    cls = model_class(model)
    files = sorted((Path(root) / cls.key).glob(f"*/{RUN_FILE}"), reverse=True)
    # Two packages may have classes of one name.
    return [run for run in map(Run.load, (file.parent for file in files)) if run.model_spec == class_spec(cls)]


def cannot_write(path: str | Path, error: Exception) -> RunError:
    """What to raise when the disk refuses."""
    reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
    return RunError(f"expected to write under {path}; got '{reason}'; make room or choose another folder with --out")


def _new_folder(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        path = parent / time.strftime("%Y%m%d-%H%M%S")
        try:
            path.mkdir()
            return path
        except FileExistsError:
            time.sleep(0.2)
