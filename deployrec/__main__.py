"""`python -m deployrec`."""

from deployrec.cli import main

main()
