"""Six user stories in each of four tools, one runnable file per story and tool."""
