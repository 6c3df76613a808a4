"""`danube-dispatcher watch`: a store's subscriptions on a terminal, and the machine of the one that is picked.

lines.py   one subscription as a line: what it does, how fast, whether somebody must come to its help
feed.py    a store read again and again, and what an owner tells of the picked one
table.py   lines as a table that fits the terminal
panel.py   a machine with its state lit, and its last transitions
app.py     the view itself; the only module, with table.py and panel.py, that needs the extra `tui`
"""
