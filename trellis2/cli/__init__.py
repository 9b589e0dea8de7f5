"""Command line: `python -m trellis2.cli generate|texture|export|encode|decode|info`."""
