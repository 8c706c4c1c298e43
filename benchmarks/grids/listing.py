"""How long it takes to list a folder of 100,000 small files, against another version of the code.

Claim: at most 1.2 of the time of the version before nested folders and labels by rule (aa53525).
Nothing is decoded. Each timing is a process of its own, which lists once to warm up and once for
the clock; the two versions take turns. `labels` has a labels.csv with a row for each file too.

    git worktree add ../before aa53525
    python -m benchmarks.grids.listing --against ../before
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import append, quartiles

HERE = Path(__file__).parents[2]
CLASSES, TEST = 10, 100  # classes, and test images of each
CASES = ("folders", "labels")
LIST = """
import sys, time
from pathlib import Path
from curvetune.data.listing import list_images
for _ in range(2):
    start = time.perf_counter()
    files = len(list_images(Path(sys.argv[1])).files)
    spent = time.perf_counter() - start
print(spent, files)
"""


def fill(root: Path, num_files: int, *, labels: bool) -> None:
    """Write so many files of one byte into the class folders."""
    rows = ["file,label,split"]
    for k in range(CLASSES):
        for split, count in (("train", num_files // CLASSES - TEST), ("test", TEST)):
            folder = root / split / f"class{k}"
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number:06}.png").write_bytes(b"x")
                rows.append(f"{split}/class{k}/{number:06}.png,class{(k + 1) % CLASSES},")
    if labels:
        (root / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def seconds(code: Path, root: Path, num_files: int) -> float:
    """Return how long the code of a checkout takes to list a folder."""
    env = {**os.environ, "PYTHONPATH": str(code)}
    run = [sys.executable, "-c", LIST, str(root)]
    done = subprocess.run(run, env=env, capture_output=True, text=True, check=True, cwd=code)
    spent, files = done.stdout.split()
    assert int(files) == num_files
    return float(spent)


def measure(case: str, before: Path, num_files: int, pairs: int) -> dict[str, object]:
    """Return a row for one case."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        fill(root, num_files, labels=case == "labels")
        timed = [[seconds(code, root, num_files) for code in (before, HERE)] for _ in range(pairs)]
    (old_low, old, old_high), (low, new, high) = map(quartiles, zip(*timed, strict=True))
    ratio_low, ratio, ratio_high = quartiles([earlier / after for earlier, after in timed])
    print(
        f"{case}: {new:.2f} s ({low:.2f} to {high:.2f}), before {old:.2f} s ({old_low:.2f} to "
        f"{old_high:.2f}); {1 / ratio:.2f} of its time, n {pairs}; claim at most 1.2"
    )
    return {
        "benchmark": "listing",
        "case": case,
        "fast": "this commit",
        "slow": commit_of(before),
        "samples": num_files,
        "wall_s": f"{new:.3f}",
        "ratio": f"{ratio:.3f}",
        "lower_quartile": f"{ratio_low:.3f}",
        "upper_quartile": f"{ratio_high:.3f}",
        "n": pairs,
    }


def commit_of(checkout: Path) -> str:
    """Return the commit that a folder has checked out."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Measure both cases and append the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--against", type=Path, required=True, help="a checkout of the old code")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="append no rows to the results")
    options = parser.parse_args()
    before = options.against.resolve()
    rows = [measure(case, before, options.files, options.pairs) for case in CASES]
    if not options.dry:
        append(rows)


if __name__ == "__main__":
    main()
