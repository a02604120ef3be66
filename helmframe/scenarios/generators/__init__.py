"""What makes the rows of generated scenarios: each module one function, subset → rows of split, input and target."""
