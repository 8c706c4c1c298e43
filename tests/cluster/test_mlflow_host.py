"""Trial 21: MLflow on a third host, with users, tokens, Postgres and proxied artifacts."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import mlflow_host
import pytest
import space
from bed import Bed
from mlflow_host import SECRETS, Server, as_team, serve

WHY_NOT = mlflow_host.why_not()
pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]
WRONG = "wrong-pw-1414-k"


@pytest.fixture(scope="module")
def server(session_bed: Bed, laptop: Path) -> Iterator[Server]:
    """MLflow on h3, and a cluster of h1 and h2."""
    server = serve(session_bed, "h3")
    session_bed.head("h1", "--num-cpus=1")
    session_bed.worker("h2", "h1", "--num-cpus=1")
    yield server
    session_bed.reset()


@pytest.fixture(scope="module")
def refused(server: Server) -> str:
    """What a grid prints whose password is wrong."""
    words = space.arguments(server.bed, "--tracking-uri", server.uri, head="h1")
    code, output = server.bed.run("h1", *words, env=as_team(WRONG), timeout_s=150)
    assert code == 0, output
    return output


def test_a_wrong_password_is_told_in_one_line_and_the_grid_goes_on(
    server: Server, laptop: Path, refused: str
) -> None:
    space.assert_same(server.bed.shared / "results", laptop)
    told = [line for line in refused.splitlines() if "MLFLOW_TRACKING_PASSWORD" in line]
    assert len(told) == 2, refused  # when it was tried, and at the end
    assert "it refuses the user 'team' with the password of MLFLOW_TRACKING_PASSWORD" in told[0]
    assert "curvetune sync tiny" in told[1]
    assert server.look("h2") == []


@pytest.mark.usefixtures("refused")
def test_trial_21_sync_brings_a_server_on_a_third_host_up_to_date_from_any_host(
    server: Server,
) -> None:
    words = ["curvetune", "sync", "tiny", "--storage", space.STORAGE, "--tracking-uri", server.uri]
    for _ in range(2):  # the second adds nothing
        code, output = server.bed.run("h2", *words, env=as_team())
        assert code == 0, output
    runs = server.look("h1", deep=True)
    levels = Counter(run["tags"]["curvetune.level"] for run in runs)
    assert levels == {"grid": 1, "method": 2, "cell": space.CELLS}
    cells = [run for run in runs if run["tags"]["curvetune.level"] == "cell"]
    assert {run["epochs"] for run in cells} == {4}
    assert all(run["address"].startswith("mlflow-artifacts:/") for run in runs), runs
    assert any(run["bytes"] for run in runs)


def test_a_grid_tells_the_server_by_a_token_in_the_environment(server: Server) -> None:
    text = space.SPACE.replace("seed: [0, 1]", "seed: [2]")
    storage = "/mnt/shared/token"
    words = space.arguments(
        *(server.bed, "--tracking-uri", server.uri), head="h1", storage=storage, text=text
    )
    token = {"MLFLOW_TRACKING_TOKEN": mlflow_host.TOKEN}
    code, output = server.bed.run("h1", *words, env=token, timeout_s=150)
    assert code == 0, output
    assert "MLflow at" not in output
    names = [run["tags"].get("curvetune.cell_id") for run in server.look("h2")]
    assert {path.name for path in (server.bed.shared / "token" / "cells").iterdir()} <= {*names}


def test_no_password_and_no_token_is_in_any_file_or_in_mlflow(server: Server) -> None:
    assert server.look("h1")  # the tests above have run
    words = [secret.encode() for secret in (*SECRETS, WRONG)]
    bed = server.bed
    looked = 0
    for folder in (bed.shared, bed.home("h1"), bed.home("h2"), bed.tmp("h1"), bed.tmp("h2")):
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                assert not [word for word in words if word in content], path
                looked += 1
    assert looked > 100
    shown = str(server.look("h1"))
    assert not [secret for secret in (*SECRETS, WRONG) if secret in shown]
