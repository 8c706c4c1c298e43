#!/usr/bin/env bash
# Pillow 13.0.0: of two files with the same stored pixels and the same EXIF orientation, a TIFF comes
# out upright and a JPEG, PNG or WebP comes out turned.
#
# TiffImagePlugin turns the image while it loads, drops the tag, and already `Image.size` is that of
# the upright picture. The other plugins leave the pixels as they are stored and keep the tag; only
# ImageOps.exif_transpose turns them. So np.asarray(Image.open(path)) gives two different pictures
# for one photograph in two formats, and a folder that mixes formats is half turned. Code that
# reads the orientation before load() and turns by itself turns a TIFF twice.
#
# Seen on 2026-11-27, orientation 6, stored 6x4 (width x height), one red pixel in the corner:
#   TIFF (4, 6), tag after load None, red at row 0, column 3
#   PNG, WEBP, JPEG (6, 4), tag 6, red at row 0, column 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install -q pillow==13.0.0 numpy==2.4.6
env/bin/python - <<'PY'
import io

import numpy as np
import PIL
from PIL import ExifTags, Image, ImageOps

print("Pillow", PIL.__version__)
stored = Image.new("RGB", (6, 4), (0, 0, 255))
stored.putpixel((0, 0), (255, 0, 0))
exif = Image.Exif()
exif[ExifTags.Base.Orientation] = 6
seen = {}
for form, options in (
    ("TIFF", {}),
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("JPEG", {"quality": 100, "subsampling": 0}),
):
    file = io.BytesIO()
    stored.save(file, form, exif=exif, **options)
    image = Image.open(io.BytesIO(file.getvalue()))
    size, before = image.size, image.getexif().get(ExifTags.Base.Orientation)
    image.load()
    after = image.getexif().get(ExifTags.Base.Orientation)
    red = np.unravel_index(np.asarray(image)[..., 0].argmax(), (image.height, image.width))
    upright = ImageOps.exif_transpose(image)
    print(form, size, "tag", before, "->", after, "red at", tuple(map(int, red)))
    assert before == 6
    assert upright.size == (4, 6)
    seen[form] = (image.size, after, tuple(map(int, red)))
assert seen["TIFF"] == ((4, 6), None, (0, 3)), seen
assert all(seen[form] == ((6, 4), 6, (0, 0)) for form in ("PNG", "WEBP", "JPEG")), seen
print("as seen before")
PY
