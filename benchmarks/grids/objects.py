"""What a storage in an object store costs a cell, beside a folder on the local disk.

Claim: under 2 % of the time of a digits cell, with an S3 server on this machine. A pair is the same
cell in a new folder and under a new prefix, back to back, in turns. The server is moto's, in Python
on the same cores, so a real one costs this machine less, and its network more. On a busy machine
two runs of one cell differ by more than that: so the time that the cell waited for the bucket's
answers is kept too.

    python -m benchmarks.grids.objects           5 pairs after one that is not counted
    python -m benchmarks.grids.objects --pairs 9
"""

import argparse
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import append, quartiles, seconds
from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.data.source import Dataset
from curvetune.planning.space import load_space
from curvetune.store import open_storage
from curvetune.store.remote.paths import mirror_of

GOAL = 1.02
BUCKET = "benchmark"


def serve(port: int) -> "subprocess.Popen[bytes]":
    """Start a server with an empty bucket, and wait until it answers."""
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("PUT", f"/{BUCKET}", b"")
            assert connection.getresponse().status == 200
            return server
        except ConnectionRefusedError:
            assert server.poll() is None, "pip install 'moto[s3]' flask-cors"
            time.sleep(0.1)


def a_cell() -> CellConfig:
    """Return a CurveNet cell of `grid digits`, which has a probe."""
    cells = load_space("digits").cells
    return next(cell for cell in cells if cell.method.name == "curvenet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    cell, images, digest = a_cell(), data.load("digits"), data.digest("digits")
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
        free.close()
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "CURVETUNE_MIRRORS": folder,
        }
        server = serve(port)
        try:
            found = [measure(cell, digest, images, Path(folder), k) for k in range(1 + pairs)][1:]
        finally:
            server.kill()
            server.wait()
    report(found)


class Asked:
    """The functions of obstore, with the time that answers take."""

    def __init__(self, obstore: Any) -> None:
        self._obstore = obstore
        self.requests, self.waited_s = 0, 0.0

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._obstore, name)

        def timed(*given: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                answer = function(*given, **named)
                # a listing is lazy: what it takes is in its pages
                return iter(list(answer)) if name == "list" else answer
            finally:
                self.requests += 1
                self.waited_s += time.perf_counter() - started

        return timed


def measure(
    cell: CellConfig, digest: str, images: Dataset, folder: Path, k: int
) -> tuple[float, float, float, int]:
    """Return the seconds of a cell in a folder, of one in a bucket, and what that asked for.

    The third number is the seconds that it waited for the bucket, the fourth its requests.
    """

    def run(storage: Path) -> None:
        run_cell(cell, digest, images, storage, device=torch.device("cpu"))

    local, mirror = open_storage(folder / "local" / f"{k}"), open_storage(f"s3://{BUCKET}/{k}")
    found = mirror_of(mirror / "any")
    assert found is not None
    asked = Asked(found.bucket._obstore)
    found.bucket._obstore = asked
    took = {path: seconds(partial(run, path)) for path in (local, mirror)[:: (-1) ** k]}
    print(
        f"folder {took[local]:.2f} s, bucket {took[mirror]:.2f} s, of which {asked.waited_s:.3f} s "
        f"waiting for {asked.requests} answers",
        flush=True,
    )
    return took[local], took[mirror], asked.waited_s, asked.requests


def report(found: list[tuple[float, float, float, int]]) -> None:
    """Print and keep the ratio of the pairs, and the share of the time that was waiting."""
    low, middle, high = quartiles([bucket / local for local, bucket, _, _ in found])
    base = quartiles([local for local, _, _, _ in found])[1]
    share = quartiles([waited / bucket for _, bucket, waited, _ in found])
    print(
        f"bucket over folder: x{middle:.3f} ({low:.3f} to {high:.3f}), n {len(found)}, "
        f"goal x{GOAL}; a cell in a folder {base:.2f} s; waiting "
        f"{share[1]:.2%} ({share[0]:.2%} to {share[2]:.2%})"
    )
    append(
        [
            {
                "benchmark": "objects",
                "case": "curvenet digits",
                "ratio": f"{middle:.4f}",
                "lower_quartile": f"{low:.4f}",
                "upper_quartile": f"{high:.4f}",
                "wall_s": f"{base:.3f}",
                "waiting_share": f"{share[1]:.4f}",
                "waiting_lower": f"{share[0]:.4f}",
                "waiting_upper": f"{share[2]:.4f}",
                "requests": found[-1][3],
                "n": len(found),
            }
        ]
    )


if __name__ == "__main__":
    main()
