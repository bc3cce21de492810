"""Trains a model into a run folder, from the start or from where an interrupted run stands."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from deployrec.data import Dataset, load_dataset
from deployrec.data.split import split
from deployrec.errors import ConfigError, RunError
from deployrec.files import check_writable
from deployrec.models import ModelClass, SequentialRecommender, build_model, model_class
from deployrec.progress import clock, working
from deployrec.time_units import days_of
from deployrec.training.baselines import item_counts
from deployrec.training.checkpoints import BEST, LAST
from deployrec.training.config import Settings, TrainingConfig, options_of, parse_settings
from deployrec.training.device import device_name, device_of
from deployrec.training.evaluate import evaluate
from deployrec.training.module import DivergedError, LeaveOneOutData, TrainingModule
from deployrec.training.presets import check_preset, preset_of
from deployrec.training.runs import DataSource, Run, newest_unfinished
from deployrec.training.scorers import carries_state
from deployrec.training.trainer import make_trainer, quiet

NOTHING_LEFT = "no run is left: it had no checkpoint yet"


def train(
    model: str | ModelClass,
    data: Any,
    *,
    preset: str = "quick",
    seed: int | None = None,
    settings: Settings = (),
    root: str | Path = "runs",
    console: Console | None = None,
) -> Run:
    """Trains `model` on `data` by a preset and returns the finished run under root/MODEL/TIME.

    model      a name out of `available_models()`, "package.module:Class", or a class
    data       a Dataset, a frame or a place as `load_dataset` takes them, or a DataSource: a place with its options
    preset     "quick" (minutes, for a first look) or "full" (the recipe for best figures)
    seed       fixes weights, windows and dropout; None takes the recipe's
    settings   {"dim": 128, "learning_rate": 0.002} or ["dim=128"], over the preset's: options of the model or fields
               of TrainingConfig; `deployrec models MODEL` lists them
    console    where progress and figures are shown; default: stdout or the notebook; Console(quiet=True) shows nothing

    Raises DeployrecError subclasses for what the caller can mend, and KeyboardInterrupt, which says what is left, when
    interrupted. A run that ends before its first checkpoint leaves nothing.

    run = train("recblr", dataset, settings={"dim": 32})
    """
    console = console or Console()
    check_request(model, preset, seed, settings, root)
    run, dataset = start(model, data, preset=preset, seed=seed, settings=settings, root=root, console=console)
    return fit(run, dataset, console)


def check_request(model: str | ModelClass, preset: str, seed: int | None, settings: Settings, root: str | Path) -> None:
    """ConfigError for whatever can be found wrong before the data are read."""
    check_preset(preset)
    given = parse_settings(model, settings)
    if seed is not None and "seed" in given:
        raise ConfigError(f"expected one seed; got {seed} and the setting seed={given['seed']}; leave one out")
    replace(TrainingConfig(), seed=1 if seed is None else seed)
    device_of(given.get("device", "auto"))
    check_writable(root, "--out")


def start(
    model: str | ModelClass,
    data: Any,
    *,
    preset: str = "quick",
    seed: int | None = None,
    settings: Settings = (),
    root: str | Path = "runs",
    dataset: Dataset | None = None,
    console: Console | None = None,
) -> tuple[Run, Dataset]:
    """Makes an unfinished run that `fit` trains; `dataset` saves loading `data` a second time."""
    console = console or Console(quiet=True)
    model = model_class(model)  # before the data, which can take long to read
    source = DataSource(str(data)) if isinstance(data, str | Path) else data if isinstance(data, DataSource) else None
    if dataset is None:
        with working(console, "reading the data") as progress:
            dataset = source.load(progress) if source else load_dataset(data, progress=progress)
    for note in dataset.notes:
        _say(console, f"note: {note}")
    untrained, recipe = configure(model, dataset, preset, seed, settings)
    if dataset.repeats or not recipe.exclude_seen:
        _say(console, _about_repeats(dataset, recipe))
    views = split(dataset, recipe.holdout)
    if not len(views.validation) or not (views.train.stops - views.train.starts > 1).any():
        raise RunError(f"expected users with at least 4 events; got none in {dataset.name}; train on a longer log")
    run = Run.create(root, untrained, source, dataset, preset, recipe)
    earlier = newest_unfinished(root, type(untrained), dataset, before=run)
    if earlier is not None:
        _say(console, f"note: {earlier.path} was interrupted; to finish it: {earlier.resume_command}")
    return run, dataset


def configure(
    model: str | ModelClass, dataset: Dataset, preset: str, seed: int | None = None, settings: Settings = ()
) -> tuple[SequentialRecommender, TrainingConfig]:
    """The untrained model and the whole recipe that a preset, a seed and settings come to.

    Raises ConfigError for a setting that is unknown, out of range, or without effect on this recipe, and for a
    time-aware model on a log without real times.
    """
    given = parse_settings(model, settings)
    options, recipe = preset_of(preset, model, dataset)
    ours, theirs = options_of(TrainingConfig), options_of(model_class(model).config_class)
    changes = {key: value for key, value in given.items() if key in ours}
    if seed is not None:
        changes["seed"] = seed
    if changes.get("seen", recipe.seen) == "auto":
        changes["seen"] = "candidates" if dataset.repeats else "excluded"
    if changes["seen"] == "candidates":
        changes.setdefault("seen_weight", 1.0)
    recipe = replace(recipe, **changes)
    untrained = build_model(
        model, dataset.num_items, {**options, **{key: value for key, value in given.items() if key in theirs}}
    )
    if untrained.moment is not None:
        dataset.clock()
    if untrained.state_spec.exact_up_to is not None:
        recipe = replace(recipe, window=min(recipe.window, untrained.state_spec.exact_up_to))
    if recipe.validate_every > recipe.epochs:
        if "validate_every" in given:
            raise ConfigError(
                f"expected validate_every of at most the {recipe.epochs} epochs; got {recipe.validate_every}; lower it"
            )
        recipe = replace(recipe, validate_every=recipe.epochs)
    recipe.check_used(given, dataset.num_items, carries_state(untrained))
    return untrained, recipe


def resume(path: str | Path, console: Console | None = None, dataset: Dataset | None = None) -> Run:
    """Goes on with the interrupted run in `path` from its last checkpoint, exactly as if it had not stopped.

    `dataset` is what a run on data in memory was trained on. RunError for a run that is finished, that has failed or
    that a process is training right now.
    """
    console = console or Console()
    run, dataset = reopen(path, dataset, console)
    _say(console, f"resuming {run.path} ({run.model_key} on {dataset.name})")
    return fit(run, dataset, console)


def reopen(path: str | Path, dataset: Dataset | None = None, console: Console | None = None) -> tuple[Run, Dataset]:
    """An unfinished run and its data for `fit`; RunError if it cannot go on or its data have changed."""
    run = Run.load(path)
    if run.finished:
        raise RunError(
            f"expected an unfinished run; got {run.path}, which is finished; start a new one without --resume"
        )
    if run.failure:
        raise RunError(f"expected a run that can go on; got {run.path}, which failed ({run.failure}); train a new one")
    with run.locked():
        pass
    if dataset is None:
        with working(console or Console(quiet=True), "reading the data") as progress:
            return run, run.dataset(progress)
    run.check_data(dataset)
    return run, dataset


def fit(run: Run, dataset: Dataset, console: Console | None = None) -> Run:
    """Trains an unfinished run from its last checkpoint, or its seed, to the end, and evaluates it.

    Without a checkpoint to go on from, an error or an interruption removes the run.
    """
    console = console or Console()
    finished = None
    with run.locked():
        try:
            _say(
                console,
                f"training {run.model_key} ({run.preset}) on {dataset.name}: {dataset.num_users:,} users, "
                f"{dataset.num_items:,} items, {dataset.num_events:,} events",
            )
            finished = _fit(run, dataset, console)
        except KeyboardInterrupt:
            left = f"to go on: {run.resume_command}" if run.can_go_on else NOTHING_LEFT
            raise KeyboardInterrupt(left) from None
        except DivergedError as error:
            run.fail(str(error))
            raise
        finally:
            if finished is None and not run.can_go_on:
                run.discard()
    return finished


def _fit(run: Run, dataset: Dataset, console: Console) -> Run:
    config = run.training
    views = split(dataset, config.holdout)
    torch.manual_seed(config.seed)
    model = run.untrained_model()
    if model.moment is not None:
        model.moment.fit(days_of(dataset.clock()[views.train.places()], dataset.time_unit))
    module = TrainingModule(model, config, torch.from_numpy(item_counts(views.train)[1:]))
    checkpoint = run.checkpoints / f"{LAST}.ckpt"
    with working(console, "starting") as progress:
        with quiet():
            trainer = make_trainer(run, config, console, progress)
            try:
                trainer.fit(
                    module,
                    datamodule=LeaveOneOutData(views, config, carries_state(model), model.moment),
                    ckpt_path=checkpoint if checkpoint.exists() else None,
                    weights_only=True,
                )
            except SystemExit as ended:  # how Lightning ends on Ctrl-C
                if ended.code != 1:
                    raise
                signal.signal(signal.SIGINT, signal.default_int_handler)
                raise KeyboardInterrupt from None
        seconds = module.seconds
        best = torch.load(run.checkpoints / f"{BEST}.ckpt", map_location="cpu", weights_only=True)
        module.load_state_dict(best["state_dict"])
        device = device_of(config.device)
        trained = module.trained_model().to(device)
        window, seen = config.window, config.exclude_seen
        validation = evaluate(
            trained,
            dataset,
            window=window,
            split="validation",
            baselines=False,
            exclude_seen=seen,
            holdout=config.holdout,
            progress=progress,
        )
        test = evaluate(trained, dataset, window=window, exclude_seen=seen, holdout=config.holdout, progress=progress)
    facts = {
        "epochs": trainer.current_epoch,
        "best_epoch": best["epoch"] + 1,
        "seconds": round(seconds, 1),
        "device": device_name(device),
    }
    finished = run.finish(trained, {"validation": validation.to_dict(), "test": test.to_dict()}, facts)
    console.print(test.table())
    for line in (*test.notes(run.is_sample), learning(facts["best_epoch"], facts["epochs"], config)):
        _say(console, line)
    _say(console, f"run {run.path}  ({clock(seconds)}, best epoch {facts['best_epoch']})")
    return finished


def learning(best: int, done: int, config: TrainingConfig) -> str:
    """When a run of `done` epochs, of which epoch `best` was the best, stopped learning, and what to change."""
    if best > done - config.validate_every:
        return f"still learning at its last epoch, {done}: more may help (--set epochs={2 * config.epochs})"
    end = f"of {done}" if done == config.epochs else f"and ended at {done} of {config.epochs}"
    return f"learned until epoch {best} {end}: more epochs as these will not help; more dropout or more data may"


def _about_repeats(dataset: Dataset, recipe: TrainingConfig) -> str:
    share = f"note: {dataset.repeat_share:.0%} of the events repeat an item of their user: seen items"
    if recipe.exclude_seen:
        return f"{share} are excluded all the same, as seen=excluded says"
    return f"{share} stay candidates in training, evaluation and serving (--set seen=excluded leaves them out)"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
