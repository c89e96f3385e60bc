"""The commands with words: answers on stdout, files where they were asked for, mistakes in one line."""

import io
import json

import pytest


@pytest.fixture
def model(language_folder):
    return ("--model", language_folder, "--device", "cpu")


def test_ask_prints_the_answer(run, model, video_file):
    asked = ("ask", video_file, "what is it?", "--max-tokens", "6", "--max-clips", "1", *model)
    code, out, err = run(*asked, "--json")
    assert code == 0, err
    record = json.loads(out)
    assert record["question"] == "what is it?"
    assert run(*asked)[1].strip() == record["answer"].strip()


def test_caption_names_a_file_that_is_no_video_and_does_the_others(run, model, video_file, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    code, out, err = run("caption", broken, video_file, "--max-tokens", "4", "--json", *model)
    assert code == 1
    assert "broken.mp4" in err
    record = json.loads(out)
    assert list(record["captions"]) == [str(video_file)]
    assert list(record["failed"]) == [str(broken)]


def test_captions_are_told_before_one_that_fails(run, model, video_file, monkeypatch):
    from divot.config.errors import RecipeError
    from divot.pipelines.describe import Chat

    caption = Chat.caption

    def second_fails(chat):
        if second_fails.has_told:
            raise RecipeError("max_clips", "is too many", "Give fewer")
        second_fails.has_told = True
        return caption(chat)

    for form in ((), ("--json",)):
        second_fails.has_told = False
        monkeypatch.setattr(Chat, "caption", second_fails)
        code, out, err = run("caption", video_file, video_file, "--max-tokens", "4", *form, *model)
        assert (code, "is too many" in err) == (2, True)
        assert out.startswith(f"{video_file}: ") or list(json.loads(out)["captions"]) == [str(video_file)]


def test_chat_answers_a_line_with_a_line(run, model, video_file, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("what is it?\nand where?\n"))
    code, out, err = run("chat", video_file, "--max-tokens", "4", *model)
    assert code == 0, err
    assert len(out.splitlines()) == 2


def test_generate_writes_clips_records_and_a_sheet(run, model, tmp_path):
    code, out, err = run("generate", "a red star", "-n", "2", "-o", tmp_path, "--seed", "3", "--json", *model)
    assert code == 0, err
    record = json.loads(out)
    assert [clip["seed"] for clip in record["clips"]] == [3, 4]
    names = {path.name for path in tmp_path.iterdir()}
    assert {"a_red_star_seed3.mp4", "a_red_star_seed4.mp4.json", "a_red_star_sheet.png"} <= names
    first = (tmp_path / "a_red_star_seed3.mp4").read_bytes()
    run("generate", "a red star", "-o", tmp_path, "--seed", "3", "-q", *model)
    assert (tmp_path / "a_red_star_seed3.mp4").read_bytes() == first


def test_a_story_goes_on_where_it_is(run, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ("--clips", "1", "--steps", "1", "-q", *model)
    assert run("story", "Tell of a star.", "-o", "mine", *asked)[0] == 0
    first = (tmp_path / "mine" / "story.json").read_text()
    code, _, err = run("story", "--continue", "mine", *asked)
    assert code == 0, err
    assert not (tmp_path / "out").exists()
    told, goes_on = json.loads(first), json.loads((tmp_path / "mine" / "story.json").read_text())
    assert len(goes_on["clips"]) == len(told["clips"]) + 1
    assert goes_on["clips"][: len(told["clips"])] == told["clips"]


def test_generate_joins_clips_to_a_film(run, model, tmp_path):
    asked = ("generate", "a red star", "--clips", "2", "--steps", "3", "-o", tmp_path, *model)
    code, out, err = run(*asked, "--seam", "hold", "--json")
    assert code == 0, err
    film = json.loads(out)["clips"][0]["film"]
    assert film["seam"] == "hold"
    assert sum(clip["frames"] for clip in film["clips"]) == 31
    assert "2 clips, seam jump" in run(*asked)[1]


def test_generate_image_writes_a_picture(run, model, tmp_path):
    code, _, err = run("generate", "a red star", "--image", "--mean", "-o", tmp_path, *model)
    assert code == 0, err
    assert (tmp_path / "a_red_star_seed0.png").is_file()


def test_demo_talks_and_makes_clips(run, model, tmp_path, video_file):
    code, out, err = run(
        "demo", "--video", video_file, "--world-clips", "1", "-o", tmp_path, "--json", *model
    )
    assert code == 0, err
    record = json.loads(out)
    assert len(record["made"]) == 3
    assert {"request", "answer", "truth"} == set(record["examples"][1]["said"][0])
    page = (tmp_path / "index.html").read_text()
    assert "Clips from words" in page
    assert "right answer" in page


def test_evaluate_world_writes_its_report(run, model, tmp_path):
    code, out, err = run(
        "evaluate",
        "world",
        "-n",
        "2",
        "--no-controls",
        "--no-generation",
        "--json",
        tmp_path / "w.json",
        *model,
    )
    assert code == 0, err
    assert "questions" in out
    assert {"w.json", "w.html"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("ask", "gone.mp4", "what?"), "gone.mp4"),
        (("generate", "a star", "--temperature", "-1"), "temperature"),
        (("generate", "a star", "--image", "--clips", "2"), "Leave out --clips or --image"),
        (("evaluate", "world", "--json", "x.txt"), "does not end in .json"),
    ],
)
def test_mistakes_are_one_line(run, model, arguments, named):
    code, out, err = run(*arguments, *model)
    assert code == 2
    assert out == ""
    assert named in err


def test_a_model_that_cannot_speak_says_so(run, model_folder, video_file):
    code, _, err = run("ask", video_file, "what?", "--model", model_folder)
    assert code == 2
    assert "language model" in err


def test_merge_without_a_lora_writes_nothing(run, language_folder, tmp_path):
    code, _, err = run("merge", language_folder, tmp_path / "out")
    assert code == 2
    assert "no language model with a LoRA" in err
    assert not (tmp_path / "out").exists()
