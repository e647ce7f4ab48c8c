"""`python -m kerasft`."""

from kerasft.cli.main import main

main()
