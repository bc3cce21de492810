"""What a user did wrong, said in one line: what was expected, what came, what to do. The command line exits with 2."""


class DeployrecError(Exception):
    """Base of every error that the caller can mend; its text is one line."""

    exit_code = 2


class DataError(DeployrecError):
    """A log, a column or a row that cannot be used."""


class ConfigError(DeployrecError):
    """An unknown model, option or value."""


class BundleError(DeployrecError):
    """A bundle that is incomplete, edited, or of another schema."""


class UnknownItemError(DeployrecError):
    """An item id that is not in the catalogue, under `on_unknown_item="error"`."""


class StaleStateError(DeployrecError):
    """A stored state that another bundle wrote; it is never fed to this model."""


class StoreError(DeployrecError):
    """A store that does not answer, or a place that holds no sound store."""


class ParityError(DeployrecError):
    """An export that does not agree with the model it was made from; no bundle is written."""

    exit_code = 1


class RunError(DeployrecError):
    """A training run that is missing, unfinished, of other data, or that broke."""
