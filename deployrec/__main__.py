"""The `deployrec` command, also `python -m deployrec`."""

from __future__ import annotations

import sys

from deployrec.extras import missing_extra


def main() -> None:
    """Runs the command line and exits: 0, 2 for a user's error, 130 after Ctrl-C, with one line on stderr."""
    try:
        from deployrec.cli.main import run
    except KeyboardInterrupt:
        sys.exit(_stop("interrupted; nothing was written", 130))
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        sys.exit(_stop(str(missing), missing.exit_code))
    sys.exit(run(sys.argv[1:]))


def _stop(text: str, code: int) -> int:
    print(f"deployrec: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
