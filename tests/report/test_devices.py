"""What the tables say of the devices that made their results."""

from curvetune.report.tables.devices import device_notes

A100, H100 = {"device": "NVIDIA A100"}, {"device": "NVIDIA H100"}


def test_results_of_one_kind_of_device_need_no_note() -> None:
    assert device_notes([A100, A100]) == device_notes([]) == device_notes([{}]) == []


def test_kinds_of_device_are_counted() -> None:
    (note,) = device_notes([A100, H100, H100])
    assert note.endswith("different kinds of device: NVIDIA H100: 2, NVIDIA A100: 1")


def test_results_that_moved_are_no_longer_bit_for_bit() -> None:
    moved = {**H100, "devices": ["NVIDIA A100", "NVIDIA H100"]}
    probe = {**H100, "probe_devices": ["NVIDIA A100", "NVIDIA H100"]}
    (note,) = device_notes([moved, probe, H100])
    assert note.startswith("2 of 3 results went on on another kind of device (")
    assert "NVIDIA A100 → NVIDIA H100: 1, probe NVIDIA A100 → NVIDIA H100: 1" in note
    assert "not bit for bit" in note


def test_what_a_result_says_of_devices_cannot_move_the_cursor() -> None:
    (note,) = device_notes([{"device": "x\x1b[2J"}, A100])
    assert "\x1b" not in note
