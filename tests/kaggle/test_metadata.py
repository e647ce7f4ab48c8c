"""kernel-metadata.json: what is refused before Kaggle is asked, and what Kaggle is asked for."""

import json

import pytest

from kerasft.errors import KernelError
from kerasft.kaggle.accelerators import ACCELERATORS
from kerasft.kaggle.metadata import FILE, check_title, faults, metadata, read, request, slug_of


def described(accelerator: str = "t4x2", **changes) -> dict:
    made = metadata(
        "me",
        "kerasft sql",
        "kerasft-sql.ipynb",
        ACCELERATORS[accelerator],
        internet=True,
        datasets=["me/rows"],
        models=["keras/gemma/keras/gemma_2b_en/3"],
    )
    return made | changes


@pytest.mark.parametrize(
    ("title", "slug"),
    [("kerasft sql", "kerasft-sql"), ("SQL, 2nd try!", "sql-2nd-try"), ("a--b c__d", "a-b-c-d")],
)
def test_a_slug_is_the_title_in_lower_case_with_dashes(title, slug):
    assert slug_of(title) == check_title(title) == slug


@pytest.mark.parametrize("title", ["abc", "x" * 51, "-----"])
def test_a_title_that_kaggle_refuses_is_refused(title):
    with pytest.raises(KernelError, match="Kaggle takes 5 to 50"):
        check_title(title)


@pytest.mark.parametrize("name", ACCELERATORS)
def test_kaggles_own_request_takes_every_field(name):
    """The request class of Kaggle's client checks the type of each field when it is set."""
    from kagglesdk.kernels.types.kernels_api_service import ApiSaveKernelRequest

    made = request(described(name), "{}", own_output=True)
    sent = ApiSaveKernelRequest.to_dict(made)
    known = {field.json_name for field in ApiSaveKernelRequest._fields}
    assert sent.keys() <= known
    machine = ACCELERATORS[name]
    assert sent.get("machineShape", "") == machine.machine_shape
    assert (sent["enableGpu"], sent["enableTpu"]) == (machine.kind == "gpu", machine.kind == "tpu")
    assert sent["isPrivate"] is True and sent["kernelType"] == "notebook"
    assert sent["slug"] == "me/kerasft-sql" and sent["newTitle"] == "kerasft sql"
    assert sent["kernelDataSources"] == ["me/kerasft-sql"]
    assert sent["datasetDataSources"] == ["me/rows"]
    assert sent["modelDataSources"] == ["keras/gemma/keras/gemma_2b_en/3"]


def test_a_kernel_without_a_version_does_not_name_its_own_output():
    other = described(kernel_sources=["me/kerasft-sql", "me/other"])
    assert request(other, "{}", own_output=False).kernel_data_sources == ["me/other"]


def test_switches_may_be_text_and_a_kernel_is_private_unless_it_says_otherwise():
    found = described(is_private="false", enable_gpu="True")
    made = request(found, "{}", own_output=True)
    assert made.is_private is False and made.enable_gpu is True
    del found["is_private"]
    assert request(found, "{}", own_output=True).is_private is True


def test_all_faults_are_told_at_once(tmp_path):
    wrong = {
        "title": 7,
        "is_private": "perhaps",
        "dataset_sources": "me/rows",
        "kernel_sources": ["no owner"],
    }
    (tmp_path / FILE).write_text(json.dumps(described(**wrong)), "utf-8")
    with pytest.raises(KernelError) as caught:
        read(tmp_path)
    message = str(caught.value)
    for part in (
        "faults (5)",
        "title: expected text",
        "is_private: expected true or false",
        "dataset_sources: expected a list",
        "'no owner'",
        "code_file: there is no",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": "kerasft-sql"}, "id: expected username/kernel-slug"),
        ({"id": "me/other"}, "title: Kaggle would name it 'kerasft-sql'"),
        ({"language": "r"}, "language: expected 'python'"),
        ({"code_file": ""}, "code_file: expected"),
        ({"model_sources": ["keras/gemma"]}, "model_sources: 'keras/gemma'"),
    ],
)
def test_what_kaggle_would_misread_is_a_fault(changes, said):
    assert any(said in fault for fault in faults(described(**changes)))


def test_a_folder_without_metadata_says_how_it_is_made(tmp_path):
    with pytest.raises(KernelError, match="kerasft kaggle init"):
        read(tmp_path)
    (tmp_path / FILE).write_text("{", "utf-8")
    with pytest.raises(KernelError, match="no JSON"):
        read(tmp_path)
