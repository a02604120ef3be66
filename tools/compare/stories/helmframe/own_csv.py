"""Score a model on the questions of a CSV file. Support: built in."""

import helmframe as hf

plan = hf.scenario("questions.csv", input="question", references="answer")

if __name__ == "__main__":
    from own_function import answer

    print(plan.generate(answer).score())
