"""What runs inside the sandbox: plain Python on the standard library alone, in processes of their own.

`candidate` holds the program under test, `referee` the tests; they talk over two pipes in the words of `wire`. The
referee runs in another sandbox than the program: no verdict, expected value or test is within the program's reach.
"""
