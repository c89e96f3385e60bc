"""The command line: results on stdout, everything else on stderr, errors in one line."""

import io
import json
import shutil

import pytest

from divot.cli import journeys, options
from divot.cli.main import EXIT_ERROR
from video.broken import NOTHING_TO_SEE


@pytest.fixture
def model(model_folder):
    return ("--model", model_folder, "--device", "cpu")


def test_encode_then_decode_gives_the_frames_of_reconstruct(run, model, video_file, tmp_path):
    code, out, err = run("encode", video_file, "-o", tmp_path / "store", "--json", *model)
    assert code == 0, err
    assert json.loads(out)["clips"] == 2
    code, out, _ = run("decode", tmp_path / "store", "-o", tmp_path / "a.mp4", "--json", *model)
    assert code == 0
    assert json.loads(out)["frames"] == 20
    code, out, _ = run("reconstruct", video_file, "-o", tmp_path / "b.mp4", "--json", *model)
    record = json.loads(out)
    assert code == 0
    assert {"psnr_db", "ssim", "seed", "model", "detokenizer"} <= set(record)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_clips_are_read_as_the_official_evaluation_does_if_asked(run, model, video_file, tmp_path):
    arguments = ("encode", video_file, "-o", tmp_path / "store", "--sampling", "official-reconstruction")
    code, out, err = run(*arguments, "--json", *model)
    assert code == 0, err
    assert json.loads(out)["clips"] == 1


def test_output_that_is_the_input_is_refused(run, model, video_file, tmp_path):
    video = tmp_path / "a.mp4"
    shutil.copy(video_file, video)
    code, out, err = run("reconstruct", video, "-o", video, "-q", *model)
    assert (code, out) == (2, "")
    assert "would be overwritten" in err
    code, _, err = run("encode", video, "-o", tmp_path / "store", "--rejects", video, "-q", *model)
    assert (code, "would be overwritten" in err, (tmp_path / "store").exists()) == (2, True, False)
    assert run("encode", video, "-o", tmp_path / "store", "-q", *model)[0] == 0
    code, _, err = run("decode", tmp_path / "store", "-o", video, "-q", *model)
    assert (code, "would be overwritten" in err) == (2, True)
    assert video.read_bytes() == video_file.read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        ("encode", "VIDEO", "-o", "store", "--rejects", "OUT"),
        ("reconstruct", "VIDEO", "-o", "OUT"),
        ("evaluate", "reconstruction", "--videos", "FOLDER", "--json", "OUT"),
        ("evaluate", "world", "--json", "OUT"),
        ("data", "check", "FOLDER", "--json", "OUT"),
        ("data", "story", "VIDEO", "-o", "OUT"),
    ],
)
def test_an_output_without_a_place_is_refused(arguments, run, video_file, tmp_path):
    (tmp_path / "file").touch()
    own = {"VIDEO": video_file, "FOLDER": video_file.parent, "OUT": tmp_path / "file" / "a.json"}
    if arguments[0] == "reconstruct":
        own["OUT"] = own["OUT"].with_suffix(".mp4")
    code, said, err = run(*(own.get(word, word) for word in arguments), "-q")
    assert (code, said) == (2, "")
    assert "file is no folder" in err


def test_json_is_json_whatever_letters_the_output_has(run, monkeypatch, video_file, tmp_path):
    path = tmp_path / "é😀.mp4"
    shutil.copy(video_file, path)
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", narrow)
    assert run("data", "check", path.parent, "--json", "-")[0] in (0, 1)
    narrow.flush()
    assert json.loads(narrow.buffer.getvalue().decode("latin-1"))["source"] == str(path.parent)


def test_preset_is_another_word_for_model(run, model_folder, video_file, tmp_path):
    code, out, _ = run(
        "reconstruct", video_file, "-o", tmp_path / "o.gif", "--preset", model_folder, "--device", "cpu"
    )
    assert code == 0
    assert "PSNR" in out
    assert "SSIM" in out


def test_quiet_prints_nothing(run, model, video_file, tmp_path):
    assert run("encode", video_file, "-o", tmp_path / "store", "-q", *model) == (0, "", "")


def test_unreadable_video_is_named_and_the_exit_code_tells(run, model, video_file, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film")
    code, out, err = run("encode", bad, video_file, "-o", tmp_path / "store", "--json", *model)
    assert code == journeys.EXIT_SOME_FAILED
    assert list(json.loads(out)["failed"]) == [bad.as_posix()]
    assert len(json.loads(out)["encoded"]) == 1
    assert "bad.mp4" in err


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("reconstruct", "none.mp4", "-o", "o.mp4"), "none.mp4: there is no such file"),
        (("decode", "none", "-o", "o.mp4"), "none: is not a safetensors file"),
        (("evaluate", "reconstruction", "--world", "--videos", "x"), "contradict each other"),
        (("reconstruct", "none.mp4", "-o", "o.mp4", "--device", "moon"), "'moon' is no device"),
    ],
)
def test_mistake_is_one_line_on_stderr(run, model_folder, arguments, wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments, "--model", model_folder, "--quiet")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert wanted in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.timeout(20, func_only=True)
@pytest.mark.parametrize("make", NOTHING_TO_SEE, ids=lambda make: make.__name__)
def test_a_file_that_is_no_video_is_one_error_and_writes_nothing(run, model, make, tmp_path):
    make(tmp_path / "bad.mp4")
    code, out, err = run("reconstruct", tmp_path / "bad.mp4", "-o", tmp_path / "out" / "o.mp4", "-q", *model)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {tmp_path / 'bad.mp4'}: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("reconstruct", "v.mp4", "-o", "o.txt"), "'.txt'"),
        (("reconstruct", "v.mp4", "-o", "o.mp4", "--seed", "-1"), "--seed"),
        (("reconstruct", "v.mp4", "-o", "o.mp4", "--dtype", "int8"), "--dtype"),
        (("encode", "v.mp4"), "--out"),
        (("unknown",), "unknown"),
    ],
)
def test_wrong_option_is_named(run, arguments, wanted):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert wanted in err
    assert "Traceback" not in err


def test_ctrl_c_leaves_nothing_half_written(run, model, video_file, tmp_path, monkeypatch):
    from divot.pipelines import divot

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(divot, "to_uint8", stopped)
    code, out, err = run("reconstruct", video_file, "-o", tmp_path / "o.mp4", "--quiet", *model)
    assert (code, out) == (130, "")
    assert "stopped" in err
    assert not list(tmp_path.iterdir())


def test_a_full_disk_under_weights_or_tokens_is_one_line(run, model, video_file, tmp_path, monkeypatch):
    from safetensors import SafetensorError

    from divot.data import token_writer

    def full(*_, **__):
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(token_writer, "save_file", full)
    code, _, err = run("encode", video_file, "-o", tmp_path / "store", "--quiet", *model)
    assert code == 2
    assert "No space left on device. Check the file" in " ".join(err.split())


def test_a_recipe_keeps_its_preset(run, tmp_path):
    asked = ("train", "tokenizer", tmp_path / "run", "--recipe", "paper_tokenizer", "--videos", tmp_path)
    assert "preset: paper" in run(*asked, "--dry-run")[1]


def test_without_a_recipe_the_sizes_are_those_of_the_model_that_the_run_begins_with(
    run, tmp_path, model_folder
):
    paper = shutil.copytree(model_folder, tmp_path / "model")
    contents = json.loads((paper / "model.json").read_text())
    (paper / "model.json").write_text(json.dumps(contents | {"preset": "paper"}))
    asked = ("train", "detokenizer", tmp_path / "run", "--init-model", paper, "--dry-run")
    assert "preset: paper" in run(*asked)[1]
    assert "preset: tiny" in run(*asked, "--preset", "tiny")[1]


def test_videos_beside_sprite_world_are_told_of(run, tmp_path, caplog):
    asked = (
        "train",
        "tokenizer",
        tmp_path / "run",
        "--init-model",
        "tiny",
        "--videos",
        tmp_path,
        "--dry-run",
    )
    assert run(*asked)[0] == 0
    assert "87% of each batch is of Sprite World" in caplog.text
    caplog.clear()
    assert run(*asked, "--set", "data.world_share=0.5")[0] == 0
    assert not caplog.text


def test_demo_says_where_the_page_is(run, model, tmp_path, video_file):
    shutil.copy(video_file, tmp_path / "my film.mp4")
    code, out, _ = run(
        "demo",
        "-o",
        tmp_path / "demo",
        "--video",
        tmp_path / "my film.mp4",
        "--world-clips",
        0,
        "--steps",
        1,
        *model,
    )
    assert code == 0
    assert str(tmp_path / "demo" / "index.html") in out.splitlines()[-1]
    assert (tmp_path / "demo" / "video_my_film.mp4").exists()


def test_evaluate_prints_its_measures_if_asked(run, model, model_folder):
    from divot.weights.store import ModelFolder

    arguments = ("-n", 1, "--steps", 1, "--detokenizer", "reconstruction", "--json", "-")
    code, out, err = run("evaluate", "reconstruction", *arguments, *model)
    assert code == 0, err
    digest = ModelFolder(model_folder).detokenizer_hash("reconstruction")
    wanted = {"task": "reconstruct", "name": "reconstruction", "detokenizer_hash": digest}
    assert json.loads(out)["run"]["detokenizer"] == wanted
    code, _, err = run("evaluate", "reconstruction", "--detokenizer", "other", "-q", *model)
    assert code == 2
    assert "'other'" in err


def test_evaluate_writes_its_report(run, model, tmp_path):
    file = tmp_path / "r.json"
    code, out, err = run(
        "evaluate", "reconstruction", "--world", "-n", 2, "--steps", 1, "--json", file, *model
    )
    assert code == 0, err
    assert "psnr" in json.loads(file.read_text())
    assert str(file) in out


def test_world_preview_writes_pictures(run, tmp_path):
    code, out, _ = run("world", "preview", "-o", tmp_path / "w", "-n", 1, "--json")
    assert code == 0
    assert json.loads(out)["clips"] == 1
    assert "numpy" in json.loads(out)["versions"]
    assert (tmp_path / "w" / "clip_000.gif").exists()


def test_inspect_tells_models_and_stores_apart(run, model, model_folder, video_file, tmp_path):
    code, out, _ = run("inspect", model_folder)
    assert code == 0
    assert "divot model" in out
    assert run("inspect", model_folder, "--quiet") == (0, "", "")
    run("encode", video_file, "-o", tmp_path / "store", "-q", *model)
    code, out, _ = run("inspect", tmp_path / "store", "--json")
    assert code == 0
    assert json.loads(out)["videos"] == [{"name": video_file.as_posix(), "clips": 2}]


def test_weights_that_cannot_be_converted_are_named(run, tmp_path):
    code, out, err = run("convert", "official", tmp_path, tmp_path / "out", "-q")
    assert (code, out) == (2, "")
    assert str(tmp_path) in err


def test_info_lists_versions_and_presets(run):
    code, out, _ = run("info", "--json")
    found = json.loads(out)
    assert code == 0
    assert set(found["presets"]) == {"paper", "tiny"}
    assert "torch" in found["versions"]
    assert run("info", "--quiet") == (0, "", "")


def test_choices_are_those_of_the_code_behind():
    from typing import get_args

    from divot.detokenizer.sampler import SOLVERS
    from divot.pipelines.clips import Sampling
    from divot.pipelines.load import DTYPES
    from divot.video import Fit

    for choice, wanted in (
        (options.SolverName, SOLVERS),
        (options.SamplingName, get_args(Sampling)),
        (options.FitName, get_args(Fit)),
        (options.DtypeName, DTYPES),
    ):
        assert [member.value for member in choice] == list(wanted)


@pytest.mark.parametrize(("package", "extra"), [("accelerate", "train"), ("ray.data", "ray")])
def test_package_that_is_not_installed_is_named_with_its_extra(run, monkeypatch, package, extra):
    from divot.pipelines import info

    def missing():
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(info, "describe_installation", missing)
    code, out, err = run("info")
    assert (code, out) == (2, "")
    name = package.split(".")[0]
    assert err == f"error: {name} is not installed. Run pip install 'divot-video[{extra}]'\n"


def test_an_error_that_nobody_raised_on_purpose_says_how_to_find_it(run, model, monkeypatch):
    def raised(*_, **__):
        raise ValueError("three is too many")

    def slipped(*_, **__):
        _, _ = (1, 2, 3)

    for broken, told in ((raised, "too many\n"), (slipped, "(DIVOT_DEBUG=1 tells where)\n")):
        monkeypatch.setattr("divot.pipelines.demo.run_demo", broken)
        code, _, err = run("demo", "-o", "nowhere", *model)
        assert code == EXIT_ERROR
        assert err.endswith(told)
