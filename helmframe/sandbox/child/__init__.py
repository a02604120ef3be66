"""The code that runs inside sandboxes: plain Python with the standard library only.

`candidate` runs the program under test, and `referee` runs the tests. They exchange the messages of `wire` over two
pipes. The referee runs in another sandbox than the program, which has no access to verdicts, expected values and tests.
"""
