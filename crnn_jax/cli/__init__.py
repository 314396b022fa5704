"""The command line: each command parses its arguments and calls one library function.

May import every other package.
"""
