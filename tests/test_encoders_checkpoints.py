"""Weight files: what is accepted, what is said about it, and what is refused without being executed."""

import argparse
import http.server
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmark.encoders import checkpoints, registry
from benchmark.encoders.__main__ import fetch, main
from benchmark.encoders.base import Encoder, ReleasedWeights
from benchmark.errors import InputError
from tests.encoders.goldens import FOG_EEG, FOG_EMG, ISRUC_ECG, ISRUC_EEG, WESAD_PPG

State = dict[str, torch.Tensor]


def tiny(name: str, **options: Any) -> Encoder:
    return registry.build(name, registry.encoder_class(name).example, seed=7, **options)


def same(one: Encoder, other: Encoder) -> bool:
    return one.fingerprint() == other.fingerprint()


@pytest.mark.parametrize("name", registry.names())
def test_saved_weights_come_back_whole(name: str, tmp_path: Path) -> None:
    encoder = tiny(name)
    checkpoints.save(encoder, tmp_path / "deep" / "w.safetensors", notes={"epochs": 3})
    back = registry.build(name, encoder.signal, weights=tmp_path / "deep" / "w.safetensors")
    assert same(back, encoder)
    assert back.weights_report is not None
    assert back.weights_report["missing"] == back.weights_report["ignored"] == []
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("name", registry.names())
@pytest.mark.parametrize("prefix", ["module.", "model.", "student.", "module.student."])
def test_prefixes_of_training_scripts_are_removed(name: str, prefix: str) -> None:
    encoder, other = tiny(name), registry.build(name, registry.encoder_class(name).example)
    other.load_original_state_dict({prefix + key: value for key, value in encoder.state_dict().items()})
    assert same(other, encoder)


def labram_pretraining_file(encoder: Encoder, positions: int = 16) -> dict[str, Any]:
    """What LaBraM's pre-training saves: a student with a vocabulary head, the optimiser and the command line."""
    own = {f"student.{name}": value for name, value in encoder.state_dict().items() if "fc_norm" not in name}
    own["student.time_embed"] = torch.randn(1, positions, 40)
    extras = {
        "student.pos_embed": torch.zeros(1, 129, 40),
        "student.mask_token": torch.zeros(1, 1, 40),
        "student.norm.weight": torch.ones(40),
        "student.lm_head.weight": torch.zeros(64, 40),
        "logit_scale": torch.tensor(1.0),
    }
    optimizer = {"state": {0: {"exp_avg": torch.zeros(40)}}, "param_groups": [{"lr": np.float64(5e-4), "params": [0]}]}
    return {"model": own | extras, "optimizer": optimizer, "epoch": 49, "args": argparse.Namespace(lr=5e-4, seed=0)}


def test_labrams_pretraining_file_is_read(tmp_path: Path) -> None:
    encoder = tiny("labram", time_positions=30)
    torch.save(labram_pretraining_file(encoder, positions=30), tmp_path / "labram.pth")
    back = registry.build("labram", ISRUC_EEG, weights=tmp_path / "labram.pth")
    report = back.weights_report
    assert report is not None
    assert sorted(report["ignored"]) == sorted(
        [
            "logit_scale",
            "student.lm_head.weight",
            "student.mask_token",
            "student.norm.weight",
            "student.pos_embed",
        ]
    )
    assert report["missing"] == ["fc_norm.weight", "fc_norm.bias"]
    assert torch.equal(back.state_dict()["blocks.2.attn.qkv.weight"], encoder.state_dict()["blocks.2.attn.qkv.weight"])


def test_numbers_that_an_older_numpy_pickled_are_read(tmp_path: Path) -> None:
    torch.save(labram_pretraining_file(tiny("labram"), positions=30), tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as new, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name.endswith("data.pkl"):
                assert b"numpy._core.multiarray\n" in content
                content = content.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")
            old.writestr(name, content)
    registry.build("labram", ISRUC_EEG, weights=tmp_path / "old.pth")


def test_labrams_missing_time_positions_are_interpolated_or_left_random() -> None:
    file = labram_pretraining_file(tiny("labram"))["model"]
    table = file["student.time_embed"]
    stretched = registry.build("labram", ISRUC_EEG)
    report = stretched.load_original_state_dict(file)
    assert report["adapted"] == ["time_embed: 16 -> 30 positions, interpolated"]
    ours = stretched.state_dict()["time_embed"]
    torch.testing.assert_close(ours[0, [0, -1]], table[0, [0, -1]])
    at = 10 * 15 / 29  # position 10 of 30 on the file's axis of 16
    left = int(at)
    torch.testing.assert_close(ours[0, 10], table[0, left] + (at - left) * (table[0, left + 1] - table[0, left]))

    random = registry.build("labram", ISRUC_EEG, time_embedding="random", seed=3)
    before = random.state_dict()["time_embed"].clone()
    assert random.load_original_state_dict(file)["adapted"] == ["time_embed: 16 -> 30 positions, random"]
    assert torch.equal(random.state_dict()["time_embed"], before)

    short = registry.build("labram", FOG_EEG)
    assert short.load_original_state_dict(file)["adapted"] == ["time_embed: 16 -> 3 positions, the first ones kept"]
    assert torch.equal(short.state_dict()["time_embed"], table[:, :3])
    exact = registry.build("labram", FOG_EEG, time_positions=16)
    assert exact.load_original_state_dict(file)["adapted"] == []


def test_both_spellings_of_huberts_weight_norm_are_read() -> None:
    encoder = tiny("hubert_ecg")
    spelling = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    old = {}
    for name, value in encoder.state_dict().items():
        stem, _, leaf = name.partition("encoder.pos_conv_embed.conv.")
        old[f"{stem}encoder.pos_conv_embed.conv.{spelling[leaf]}" if leaf in spelling else name] = value
    assert "encoder.pos_conv_embed.conv.weight_g" in old
    other = registry.build("hubert_ecg", ISRUC_ECG)
    report = other.load_original_state_dict(old)
    assert same(other, encoder)
    assert report["ignored"] == report["missing"] == []


def test_huberts_vocabulary_may_have_any_size() -> None:
    encoder = tiny("hubert_ecg")
    other = registry.build("hubert_ecg", ISRUC_ECG)
    report = other.load_original_state_dict({**encoder.state_dict(), "label_embedding.0.weight": torch.zeros(200, 32)})
    assert report["ignored"] == ["label_embedding.0.weight (shape (200, 32))"]
    assert report["missing"] == ["label_embedding.0.weight"]
    without = {name: value for name, value in encoder.state_dict().items() if not name.startswith("label_embedding")}
    assert other.load_original_state_dict(without)["missing"] == ["label_embedding.0.weight"]


def test_a_fine_tuned_hubert_is_read_without_its_classifier() -> None:
    encoder = tiny("hubert_ecg")
    file = {f"hubert_ecg.{name}": value for name, value in encoder.state_dict().items()}
    other = registry.build("hubert_ecg", ISRUC_ECG)
    report = other.load_original_state_dict({**file, "classifier.weight": torch.zeros(2, 48)})
    assert same(other, encoder)
    assert report["ignored"] == ["classifier.weight"]


@pytest.mark.parametrize("decoder", [True, False])
def test_normwears_file_without_the_outer_name_is_read(decoder: bool) -> None:
    encoder = tiny("normwear")
    file = {name.removeprefix("backbone."): value for name, value in encoder.state_dict().items()}
    if not decoder:
        file = {name: value for name, value in file.items() if "decoder" not in name and "recon" not in name}
    other = registry.build("normwear", FOG_EMG)
    report = other.load_original_state_dict(file)
    assert report["ignored"] == []
    assert all("decoder" in name or "recon" in name for name in report["missing"])
    for name in report["used"]:
        assert torch.equal(other.state_dict()[name], encoder.state_dict()[name])
    assert same(other, encoder) is decoder


def test_normwears_positions_follow_the_window() -> None:
    encoder = tiny("normwear")
    longer = registry.build("normwear", replace(FOG_EMG, n_samples=650))
    report = longer.load_original_state_dict(encoder.state_dict())
    assert report["adapted"] == ["backbone.pos_embed: 21 x 5 -> 36 x 5 patches, interpolated"]
    table = longer.state_dict()["backbone.pos_embed"]
    assert table.shape == (1, 1 + 36 * 5, 48)
    # the half that encodes the width does not change along time
    torch.testing.assert_close(
        table[0, 1:, :24].unflatten(0, (36, 5))[10], encoder.backbone.pos_embed[0, 1:6, :24], rtol=1e-4, atol=1e-4
    )


def refusal(path: Path, name: str = "labram", **options: Any) -> str:
    with pytest.raises(InputError) as error:
        registry.build(name, registry.encoder_class(name).example, weights=path, **options)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["PAYLOAD_TARGET"],)


@pytest.mark.parametrize("how", ["zip", "legacy", "plain pickle"])
def test_code_in_a_pickle_is_not_run(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "ran"
    monkeypatch.setenv("PAYLOAD_TARGET", str(target))
    content = {**tiny("labram").state_dict(), "extra": Payload()}
    path = tmp_path / "evil.pth"
    if how == "plain pickle":
        path.write_bytes(pickle.dumps({"extra": Payload()}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    message = refusal(path)
    assert not target.exists()
    assert ("asks to run posix.mkdir" in message) is (how != "plain pickle")
    assert "weights_only" not in message


def test_a_config_object_beside_the_weights_is_named(tmp_path: Path) -> None:
    torch.save({"model_state_dict": tiny("labram").state_dict(), "model_config": FOG_EEG}, tmp_path / "w.pt")
    assert "benchmark.data.signals.spec.SignalSpec" in refusal(tmp_path / "w.pt")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(suffix: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    state = tiny("labram").state_dict()
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
    assert "get it again" in refusal(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "neither a .safetensors nor a PyTorch file"),
    ],
)
def test_something_else_under_the_files_name_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    assert words in refusal(tmp_path / "w.pth")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "no.pth")
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.zeros(2)], "holds a list"),
        (torch.zeros(2), "holds a Tensor"),
        ({"epoch": 3, "loss": 0.1}, "no tensors under the keys epoch, loss"),
        ({}, "no tensors"),
    ],
)
def test_a_file_without_a_state_dict_is_refused(content: Any, words: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert words in refusal(tmp_path / "w.pth")


@pytest.mark.parametrize("name", registry.names())
def test_the_file_of_another_model_is_refused(name: str, tmp_path: Path) -> None:
    for other in registry.names():
        if other != name:
            checkpoints.save(tiny(other), tmp_path / "w.safetensors")
            assert f"does not hold {name} tiny" in refusal(tmp_path / "w.safetensors", name)


def test_labrams_tokenizer_is_not_taken_for_labram(tmp_path: Path) -> None:
    state = tiny("labram").state_dict()
    tokenizer = {f"encoder.{name}": value for name, value in state.items()}
    torch.save({"model": tokenizer}, tmp_path / "vqnsp.pth")
    assert "does not hold labram tiny" in refusal(tmp_path / "vqnsp.pth")


@pytest.mark.parametrize("name", registry.names())
def test_weights_of_another_preset_are_refused(name: str, tmp_path: Path) -> None:
    checkpoints.save(tiny(name), tmp_path / "w.safetensors")
    preset = list(registry.encoder_class(name).presets)[1]
    with pytest.raises(InputError, match=rf"has shape .* {name} {preset} needs|does not hold {name} {preset}"):
        registry.build(
            name, registry.encoder_class(name).example, preset, weights=tmp_path / "w.safetensors", device="meta"
        )


def test_half_a_model_is_refused(tmp_path: Path) -> None:
    state = {name: value for name, value in tiny("labram").state_dict().items() if not name.startswith("blocks.3.")}
    save_file(state, tmp_path / "w.safetensors")
    message = refusal(tmp_path / "w.safetensors")
    assert "17 of 84 entries are missing, the first is blocks.3.gamma_1" in message


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = tiny("papagei").state_dict()
    state["basicblock_list.1.conv1.conv.weight"][0, 0, 0] = torch.nan
    save_file(state, tmp_path / "w.safetensors")
    assert "basicblock_list.1.conv1.conv.weight holds values that are not finite" in refusal(
        tmp_path / "w.safetensors", "papagei"
    )


def test_half_precision_weights_are_read_as_single(tmp_path: Path) -> None:
    state = {name: value.half() for name, value in tiny("labram").state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    encoder = registry.build("labram", ISRUC_EEG, weights=tmp_path / "w.safetensors")
    assert {value.dtype for value in encoder.state_dict().values()} == {torch.float32}


def test_released_weights_that_are_absent_say_what_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        registry.build("papagei", WESAD_PPG, "s", weights="released", weights_folder=tmp_path)
    assert "zenodo.org/records/13983110" in str(error.value)
    assert str(tmp_path / "papagei_s.pt") in str(error.value)


def test_tiny_presets_have_no_released_weights() -> None:
    with pytest.raises(InputError, match=r"no released weights for hubert_ecg tiny; .*: small, base, large"):
        registry.build("hubert_ecg", ISRUC_ECG, "tiny", weights="released")


def test_released_weights_are_found_in_the_folder(tmp_path: Path) -> None:
    encoder = registry.build("papagei", WESAD_PPG, "s", seed=5)
    torch.save({f"module.{name}": value for name, value in encoder.state_dict().items()}, tmp_path / "papagei_s.pt")
    assert same(registry.build("papagei", WESAD_PPG, "s", weights="released", weights_folder=tmp_path), encoder)


def test_list_prints_every_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["encoder", "modality", "rate"]
    for name in registry.names():
        presets = [line.split("Hz")[1].split()[0] for line in lines if line.startswith(name)]
        assert presets == list(registry.encoder_class(name).presets)
    assert any("30,366,592" in line and "CC BY-NC 4.0" in line for line in lines)


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address under which a real HTTP server gives its files out."""
    folder = tmp_path / "published"
    folder.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def publish(monkeypatch: pytest.MonkeyPatch, url: str, checksum: str | None = None) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    source = ReleasedWeights("papagei_s.pt", url, "the page", "a licence", checksum)
    monkeypatch.setattr(registry.encoder_class("papagei"), "released", {"s": source})


def test_fetch_downloads_checks_and_keeps(
    publisher: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, address = publisher
    encoder = registry.build("papagei", WESAD_PPG, "s", seed=5)
    torch.save({f"module.{name}": value for name, value in encoder.state_dict().items()}, folder / "w.pt")
    publish(monkeypatch, f"{address}/w.pt")
    weights = tmp_path / "weights"
    assert main(["fetch", "papagei", "--folder", str(weights)]) == 0
    assert capsys.readouterr().out.strip() == str(weights / "papagei_s.pt")
    assert [path.name for path in weights.iterdir()] == ["papagei_s.pt"]
    assert same(registry.build("papagei", WESAD_PPG, "s", weights="released", weights_folder=weights), encoder)

    (folder / "w.pt").unlink()
    assert fetch("papagei", folder=weights) == weights / "papagei_s.pt"  # there already: no download
    publish(monkeypatch, f"{address}/w.pt", "md5:0")
    with pytest.raises(InputError, match="is not the published file"):
        fetch("papagei", folder=weights)


def test_fetch_says_what_to_do_by_hand_if_it_cannot(
    publisher: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, address = publisher
    (folder / "w.pt").write_bytes(b"something else")
    weights = tmp_path / "weights"
    for url, checksum, words in [
        ("http://127.0.0.1:9/w.pt", None, "ConnectionError"),  # the discard port: nothing listens
        (f"{address}/gone.pt", None, "404"),
        (f"{address}/w.pt", "md5:a4cdb32392e2a7b25999128af92813b5", "not the published file"),
    ]:
        publish(monkeypatch, url, checksum)
        assert main(["fetch", "papagei", "--folder", str(weights)]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ")
        assert words in error
        assert f"fetch {url} and save it as {weights / 'papagei_s.pt'}" in error
        assert not (weights / "papagei_s.pt").exists()


def test_fetch_asks_for_a_preset_where_there_are_several() -> None:
    with pytest.raises(InputError, match="choose one with --preset"):
        fetch("hubert_ecg")
    with pytest.raises(InputError, match="hubert_ecg tiny has no released weights"):
        fetch("hubert_ecg", "tiny")


def test_the_command_line_prints_one_line_and_ends_with_2() -> None:
    command = [sys.executable, "-m", "benchmark.encoders", "fetch", "labrm"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[1])
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "did you mean labram" in done.stderr
