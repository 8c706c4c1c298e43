"""Trains a ResNet-8 on digits, a window at a time, and tells how long its steps took.

    python steps.py HISTORY    one line on stdin, one window; one line of JSON on stdout

What the tracker could disturb is all here: the steps themselves, and the row of each epoch.
"""

import json
import sys
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from curvetune import data, models
from curvetune.store.history import History

STEPS, BATCH, EPOCH = 200, 32, 20


def main() -> None:
    torch.set_num_threads(1)
    digits = data.load("digits").train
    x, y = torch.from_numpy(digits.x).float() / 16, torch.from_numpy(digits.y)
    model = models.build("resnet8", 10, in_channels=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    done = 0
    with History(Path(sys.argv[1]), []) as history:
        for _ in sys.stdin:
            wall: list[float] = []
            cpu: list[float] = []
            for _ in range(STEPS):
                began, used = time.perf_counter(), time.process_time()
                start = done * BATCH % (len(y) - BATCH)
                batch = slice(start, start + BATCH)
                loss = cross_entropy(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += 1
                if done % EPOCH == 0:
                    row = {"epoch": done // EPOCH - 1, "time": time.time(), "seconds": 1.0}
                    history.append({**row, "loss": loss.item(), "lr": 0.01})
                cpu.append(time.process_time() - used)
                wall.append(time.perf_counter() - began)
            sys.stdout.write(json.dumps({"cpu": cpu, "wall": wall}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
