"""How fast the dispatchers are, beside the limits of the event loop and the disk and beside others, measured in one run: `python -m bench`.

`make bench` measures all of it and writes docs/benchmarks.json, docs/benchmarks.svg and the tables of docs/benchmarks.md; `make bench-quick` prints
the same in a few minutes and writes nothing. Two kinds of things are measured:

- A *scenario* passes messages. It is one registered function (`bench/scenarios.py` says how); the rounds of all scenarios are interleaved, so that a
  slow minute of the machine slows everything, and each is compared with its limit as a ratio.
- A *study* measures something else, in its own way: a module here with

      def measure(quick: bool) -> list[Row]: ...   # bench/rows.py

  that blocks until it is done, says in `Row.name` what the figure is, prints nothing, needs no more than 20 seconds when `quick` and two minutes
  otherwise, and ends with `if __name__ == "__main__": study(measure)`, which prints the rows. So it also runs by itself: `python -m bench.NAME --quick`.
  It is run in a process of its own, and is named in `STUDIES` of bench/targets.py.

What is wanted of either stands in bench/targets.py, and nowhere else.
"""
