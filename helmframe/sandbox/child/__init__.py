"""The code that runs inside the sandbox: plain Python with the standard library only, in processes of its own.

`candidate` runs the program under test, `referee` the tests; they exchange the messages of `wire` over two pipes. The
referee runs in another sandbox than the program, which can reach no verdict, expected value or test.
"""
