"""What makes the rows of generated scenarios: each module one function, part → rows of split, input and target."""
