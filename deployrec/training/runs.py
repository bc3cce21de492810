"""Run folders: runs/MODEL/TIME/ with run.json, weights.safetensors, items.csv, and checkpoints while training."""

from __future__ import annotations

import json
import platform
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from deployrec.data import Dataset, Origin, load_dataset, write_items
from deployrec.errors import DeployrecError, RunError
from deployrec.files import atomic_write, exclusive
from deployrec.models import ModelClass, SequentialRecommender, build_model, class_spec, identity, model_class, spec_of
from deployrec.progress import Progress, silent
from deployrec.training.config import TrainingConfig
from deployrec.version import __version__

SCHEMA = 1
RUN_FILE, WEIGHTS_FILE, ITEMS_FILE, LOCK_FILE = "run.json", "weights.safetensors", "items.csv", "lock"


@dataclass(frozen=True)
class DataSource:
    """Where a data set comes from: `load_dataset`'s source and options, so that a run can load it again."""

    source: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.is_sample:
            object.__setattr__(self, "source", str(Path(self.source).absolute()))
        if "items" in self.options:
            items = str(Path(self.options["items"]).absolute())
            object.__setattr__(self, "options", {**self.options, "items": items})

    @property
    def is_sample(self) -> bool:
        """Whether this is the built-in data set, whose best possible figures are known."""
        return self.source == "sample"

    def events(self) -> DataSource:
        """The same without the file of items: what the events and their digest depend on, wherever that file is."""
        return DataSource(self.source, {name: value for name, value in self.options.items() if name != "items"})

    def with_items(self, items: str | Path | None) -> DataSource:
        """The same with the file of items at another place; None leaves it where it was."""
        return self if items is None else DataSource(self.source, {**self.options, "items": items})

    def load(self, progress: Progress = silent) -> Dataset:
        """The data set, as `load_dataset` reads it."""
        return load_dataset(self.source, **self.options, progress=progress)


@dataclass(frozen=True)
class Run:
    """One training run on disk; `record` is the content of its run.json."""

    path: Path
    record: dict[str, Any]
    made: tuple[Path, ...] = field(default=(), compare=False)
    """Folders above `path` that `create` made for it, the nearest first."""

    @classmethod
    def create(
        cls,
        root: str | Path,
        model: SequentialRecommender,
        data: DataSource | None,
        dataset: Dataset,
        preset: str,
        training: TrainingConfig,
    ) -> Run:
        """Makes the folder root/MODEL/TIME with an unfinished run.json and items.csv; `data` None: `dataset` knows."""
        place = asdict(data or dataset.origin or Origin(None))
        record = {
            "schema": SCHEMA,
            "model": identity(model),
            "data": {**place, **dataset.summary()},
            "preset": preset,
            "seed": training.seed,
            "training": training.to_dict(),
            "metrics": {},
            "versions": {
                "deployrec": __version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
            },
            "finished": False,
        }
        parent = Path(root) / model.key
        made = tuple(folder for folder in (parent, *parent.parents) if not folder.exists())
        try:
            run = cls(_new_folder(parent), record, made)
        except OSError as error:
            raise cannot_write(root, error) from error
        try:
            write_items(dataset.items, run.path / ITEMS_FILE)
            run._write_record()
        except BaseException as error:
            run.discard()
            if isinstance(error, OSError):
                raise cannot_write(root, error) from error
            raise
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
        run = cls(Path(path), record)
        try:
            _ = run.finished, run.model_key, run.preset, run.metrics, run.training, record["model"]["config"]["dim"]
            _ = (
                record["data"]["source"],
                record["data"]["options"],
                record["data"]["digest"],
                record["data"]["num_items"],
            )
        except (KeyError, TypeError, ValueError, DeployrecError) as error:
            raise RunError(
                f"expected {file} as this version writes it; got a broken or older one ({error}); train again"
            ) from error
        return run

    def __repr__(self) -> str:
        """The run in one line: where, what, and how it ended."""
        about = f"{self.model_key} on {self.record['data']['name']}, {self.preset}, seed {self.training.seed}"
        return f"Run({str(self.path)!r}: {about}, {self._ending()})"

    def _ending(self) -> str:
        if not self.finished:
            return "failed" if self.failure else "unfinished"
        rows = self.metrics.get("test", {}).get("rows", {})
        name = "streamed" if "streamed" in rows else "windowed"
        if name not in rows:
            return "finished"
        masked = self.training.exclude_seen
        figures, seen = rows[name]["masked" if masked else "unmasked"], "masked" if masked else "candidates"
        return f"test HR@10 {figures['hr@10']:.4f}, NDCG@10 {figures['ndcg@10']:.4f} ({name}, seen items {seen})"

    @property
    def failure(self) -> str:
        """Why the training cannot go on, in words; empty where it can."""
        return str(self.record.get("failure", ""))

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
    def is_sample(self) -> bool:
        """Whether it was trained on the built-in data set."""
        return bool(self.record["data"]["source"] == "sample")

    @property
    def source(self) -> DataSource:
        return self.source_at(None)

    def source_at(self, place: str | None) -> DataSource:
        """The run's data, read as it was for the training; `place` says where the log lies now, if elsewhere."""
        place = self.record["data"]["source"] if place is None else place
        if place is None:
            raise RunError(
                f"expected the data of {self.path}; got none: it was trained on data in memory; pass the data set again"
            )
        return DataSource(place, self.record["data"]["options"])

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def can_go_on(self) -> bool:
        """Whether `--resume` would train on from a checkpoint."""
        return not self.finished and not self.failure and any(self.checkpoints.glob("last.ckpt"))

    @property
    def resume_command(self) -> str:
        """What to type to train on."""
        return f"deployrec train --resume {shlex.quote(str(self.path))}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run for training; RunError where another process does. The lock dies with its process."""
        try:
            with exclusive(self.path / LOCK_FILE):
                yield
        except BlockingIOError:
            raise RunError(
                f"expected a run that nobody is training; got {self.path}, which a process is training right now; "
                "wait for it, or stop it first"
            ) from None

    def is_locked(self) -> bool:
        """Whether a process is training the run right now."""
        try:
            with exclusive(self.path / LOCK_FILE) if (self.path / LOCK_FILE).exists() else nullcontext():
                return False
        except BlockingIOError:
            return True

    def discard(self) -> None:
        """Removes the folder, and those above it that `create` made for it and that hold nothing else."""
        shutil.rmtree(self.path, ignore_errors=True)
        for folder in self.made:
            with suppress(OSError):
                folder.rmdir()

    def dataset(self, progress: Progress = silent) -> Dataset:
        """The run's data, loaded again; RunError if it is no longer the same."""
        dataset = self.source.load(progress)
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
            raise RunError(f"expected a finished run; got {self.path}, which is not; {self._advice()}")
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

    def _advice(self) -> str:
        if self.failure:
            return "train a new one"
        return "wait for its training" if self.is_locked() else f"finish it with `{self.resume_command}`"

    def fail(self, reason: str) -> None:
        """Records that the training cannot go on, and why."""
        Run(self.path, {**self.record, "failure": reason})._write_record()

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


def newest_finished(root: str | Path, model: str | ModelClass, note: Callable[[str], None] | None = None) -> Run | None:
    """The newest finished run of `model` under `root`, if there is one; `note` hears of folders that cannot be read."""
    return next((run for run in _newest_first(root, model, note) if run.finished), None)


def newest_unfinished(root: str | Path, model: str | ModelClass, dataset: Dataset, before: Run) -> Run | None:
    """The run of `model` on this data that came last before `before`, if it was interrupted and can go on."""
    for run in _newest_first(root, model):
        if run.path.name < before.path.name and run.record["data"]["digest"] == dataset.digest:
            return run if run.can_go_on and not run.is_locked() else None
    return None


def _newest_first(
    root: str | Path, model: str | ModelClass, note: Callable[[str], None] | None = None
) -> Iterator[Run]:
    """The runs that can be read; one that cannot never hides the others."""
    cls = model_class(model)
    for file in sorted((Path(root) / cls.key).glob(f"*/{RUN_FILE}"), reverse=True):
        try:
            run = Run.load(file.parent)
            if run.model_spec == class_spec(cls):  # two packages may have classes of one name
                yield run
        except RunError as error:
            if note:
                note(f"note: skipped {file.parent}: {error}")


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
