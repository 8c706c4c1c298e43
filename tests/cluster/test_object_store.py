"""A grid over hosts that share no folder at all, but a bucket: an S3 server on the third host."""

import importlib.util
from pathlib import Path

import grids
import pytest
import space
from bed import SHARED, Bed

PORT, BUCKET = 5000, "curves"
ADDRESS = f"s3://{BUCKET}/grids/one"
FETCH = """
import sys
from pathlib import Path
import boto3
client = boto3.client("s3", endpoint_url=sys.argv[1])
if len(sys.argv) == 3:
    client.create_bucket(Bucket=sys.argv[2])
    sys.exit()
bucket, prefix, target = sys.argv[2:]
for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
    for found in page.get("Contents", []):
        path = Path(target, found["Key"].removeprefix(prefix + "/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(bucket, found["Key"], str(path))
"""

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("obstore", "moto", "boto3")),
        reason="needs obstore and moto[s3]: pip install -e '.[dev]'",
    ),
]


@pytest.fixture
def cluster(bed: Bed) -> Bed:
    """A head and a worker that share nothing, and the bucket on h3."""
    server = f"http://{bed.ip('h3')}:{PORT}"
    for host in bed.hosts:
        bed.env[host] = {
            "AWS_ACCESS_KEY_ID": "team",
            "AWS_SECRET_ACCESS_KEY": "not-a-real-secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": server,
            "AWS_ALLOW_HTTP": "true",  # the bed's network is this machine
        }
    moto = bed.start("h3", "python", "-m", "moto.server", "-H", "0.0.0.0", "-p", str(PORT))
    moto.says("Running on http")
    assert bed.run("h3", "python", "-c", FETCH, server, BUCKET).code == 0
    for host in ("h1", "h2"):
        bed.share(host, "off")
    return bed


def brought(bed: Bed) -> Path:
    """Return a folder with all objects of the storage."""
    server = bed.env["h3"]["AWS_ENDPOINT_URL"]
    code, output = bed.run(
        "h3", "python", "-c", FETCH, server, BUCKET, "grids/one", f"{SHARED}/brought"
    )
    assert code == 0, output
    return bed.shared / "brought"


def run_grid(bed: Bed, host: str) -> tuple[int, str]:
    """Run the tiny grid from a host; its space is in the home folder, since nothing is shared."""
    (bed.home(host) / "tiny.yaml").write_text(space.SPACE, encoding="utf-8")
    words = ["curvetune", "grid", "/home/ct/tiny.yaml", "--storage", ADDRESS]
    return bed.run(host, *words, "--address", bed.at("h1"), "--json", timeout_s=200)


def test_hosts_that_share_only_a_bucket_make_a_laptops_results_and_none_twice(
    cluster: Bed, laptop: Path
) -> None:
    cluster.head("h1", "--num-cpus=1")
    cluster.worker("h2", "h1", "--num-cpus=1")
    code, output = run_grid(cluster, "h1")
    assert code == 0, output
    storage = brought(cluster)
    assert {*space.holders(storage).values()} == {"h1", "h2"}
    assert grids.starts(storage) == space.CELLS
    space.assert_same(storage, laptop)
    code, output = run_grid(cluster, "h2")  # which has never seen most of it
    assert code == 0, output
    assert f"all {space.CELLS} cells are done; nothing to run" in output


def test_a_host_that_does_not_reach_the_bucket_is_named_before_a_cell_runs(cluster: Bed) -> None:
    cluster.env["h2"] = {**cluster.env["h2"], "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    cluster.env["h2"]["CURVETUNE_BUCKET_RETRY_S"] = "1"
    cluster.head("h1", "--num-cpus=1")
    cluster.worker("h2", "h1", "--num-cpus=1")
    code, output = run_grid(cluster, "h1")
    assert code == 2, output
    assert f"h2 ({cluster.ip('h2')}) storage {ADDRESS} cannot be used" in output
    assert not list(brought(cluster).glob("cells/*"))
