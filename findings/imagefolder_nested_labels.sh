#!/usr/bin/env bash
# Hugging Face `datasets` 5.2.0, builder "imagefolder": an image that lies deeper than its class
# folder gets another label than torchvision's ImageFolder gives it, or none.
#
#   train/cat/session1/0.png ...   labels are session1 and session2; cat and dog are gone
#   train/cat/0.png and train/cat/session2/1.png ...   there is no column of labels at all
#
# Neither case warns. The builder takes the name of the folder that holds the file, and drops the
# labels where files lie at different depths. torchvision 0.29.2 takes the first folder below the
# root, at any depth. So one tree, read by two loaders that both "take a class folder each", gives
# two problems. Both trees are valid input: cameras and labelling tools write such session folders.
#
# Seen on 2026-11-27:
#   deep: ClassLabel names ['session1', 'session2']; torchvision ['cat', 'dog']
#   mixed: columns ['image']; torchvision ['cat', 'dog'], 4 samples
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install -q datasets==5.2.0 pillow==13.0.0 torch==2.15.0 torchvision==0.29.2
export HF_HUB_OFFLINE=1 HF_HOME="$work/home"
env/bin/python - <<'PY'
import os

import datasets
from PIL import Image
from torchvision.datasets import ImageFolder

datasets.disable_progress_bars()
TREES = {
    "deep": ("{c}/session1/0.png", "{c}/session2/1.png"),
    "mixed": ("{c}/0.png", "{c}/session2/1.png"),
}
for name, places in TREES.items():
    for k, c in enumerate(("cat", "dog")):
        for place in places:
            path = os.path.join(name, "train", place.format(c=c))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            Image.new("RGB", (4, 4), (80 * k, 10, 10)).save(path)

found = {}
for name in TREES:
    read = datasets.load_dataset("imagefolder", data_dir=name)["train"]
    names = read.features["label"].names if "label" in read.features else None
    theirs = ImageFolder(os.path.join(name, "train"))
    print(f"{name}: datasets {datasets.__version__} {read.column_names} {names}; "
          f"torchvision {theirs.classes}, {len(theirs)} samples")
    assert len(read) == len(theirs) == 4
    assert theirs.classes == ["cat", "dog"], theirs.classes
    found[name] = names
assert found == {"deep": ["session1", "session2"], "mixed": None}, found
print("as seen before")
PY
