"""The command line.

parser.py     which commands there are; each is one module with `add_arguments(parser)` and `run(arguments) -> exit code`, imported when it is its turn
running.py    errors and signals as exit codes
arguments.py  what several commands take
terminal.py   what is said on standard error, and standard output without waiting in the way of the event loop
sources.py    what `publish` publishes
handlers.py   what `consume` does with a message: print it, or run a command
"""
