"""Programs of this repository, run as `python scripts/FOLDER/NAME.py`; none of them is installed."""
