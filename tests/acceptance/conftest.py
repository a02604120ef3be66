"""What pytest leaves out: modules that only the Python of another venv can import."""

collect_ignore = ["helm_plugin.py"]
