"""The figures of docs/performance.md: `python -m bench NAME`, with NAME from --list."""
