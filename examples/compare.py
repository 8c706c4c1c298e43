"""Compare the methods of a grid in a notebook; every `# %%` is a cell in VS Code and Jupyter.

    curvetune grid digits
    python examples/compare.py [STORAGE [GRID]]

Without arguments: the default storage, and its first grid.
"""

# %% What is there
import sys

import polars as pl

from curvetune import Results

results = Results(*sys.argv[1:2])
grid = (sys.argv[2:3] or results.grids())[0]
print(results)

# %% The table of the report
print(results.table(grid, "ma"))

# %% The accuracy over imbalance and noise, as a picture
figure = results.figure(grid, "heat")

# %% The same from the cells: a mean over seeds first, then over bias settings
cells = results.cells(grid)
setting = ["imbalance", "noise", "noise_rate"]
missing = cells.filter(pl.col("accuracy").is_null())
by_setting = cells.group_by("label", *setting).agg(pl.col("accuracy").mean())
ma = by_setting.group_by("label").agg(pl.col("accuracy").mean().alias("MA"))
print(f"{len(missing)} of {len(cells)} cells are missing")
print(ma.sort("MA", descending=True))

# %% How each method learns: accuracy over epochs, a column per method
history = results.history(grid).filter(pl.col("stage") == "allocate")
learning = history.join(cells.select("cell_id", "label"), on="cell_id").pivot(
    "label", index="epoch", values="accuracy", aggregate_function="mean"
)
print(learning.sort("epoch").tail(3))

# %% One cell that has curves: the mean loss of right and of wrong labels
done = cells.filter(pl.col("probe_id").is_not_null() & pl.col("accuracy").is_not_null())
noisy = done.filter(pl.col("noise_rate") > 0)
cell = (noisy if len(noisy) else done)["cell_id"][0]
curves = results.curves(cell)
means = curves.pivot("is_wrong", index="epoch", values="loss", aggregate_function="mean")
print(means.sort("epoch").tail(3))

# %% What its method made of that: the weight of each training sample
weights = results.weights(cell)
if "weight" in weights.columns:
    print(weights.group_by("is_wrong").agg(pl.col("weight").mean(), pl.len()).sort("is_wrong"))

# %% The labels that look most wrong
print(results.suspects(cell, top=5))
