"""One module per tool. Each runs one case in the working directory, by the Python of the tool's own environment."""
