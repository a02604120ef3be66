"""What people look at: reprs, the text of explain, charts."""
