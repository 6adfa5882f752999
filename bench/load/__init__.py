"""The scenarios of `make load`, a file each; bench/scenarios/load.py lists them."""
