"""What `curvetune tune` does: every method is searched alike, and then tested once.

    trials.py    which options a trial has, of random numbers or a grid
    proposals.py which trials a method has had, and its next ones
    contest.py   methods, their trials and the cells of each; pure
    rungs.py     which trials go on, and which are stopped early; pure
    outcomes.py  how trials came out, from results and histories, and where their cells pause
    budget.py    how many trials a method gets, or how much time; cost.py what that saves
    plans.py     what a tuning is of, and the plans that run its cells
    scores.py    who won, and how winners do on the test set
    search.py    the rounds of a search, whoever runs them
    show.py      the table and the figure of what was found
    winners.py   the space of the winners; files.py checks and writes what people asked for

A trial is one cell for each setting and seed of the space, with `data.validation`. So it has an
address, it is stored once, and its test set is never read. The same command goes on where it
stopped, and a larger budget adds trials to those that are there.
"""
