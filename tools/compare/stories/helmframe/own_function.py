"""Evaluate a Python function as a model. Support: built in."""

from user_model import answer

if __name__ == "__main__":
    from own_csv import plan

    print(plan.generate(answer).score())
