"""`taximeter plan gallery`, and meters in plan files: from a price page to a running plan."""

from pathlib import Path

import pytest

from tests.cli.command_line import run
from tests.gallery.entry import PLANS, names
from tests.serving import KEY, serving

METERS = """\
meters:
  - {key: calls, event_type: call, aggregation: count, unit: calls}
---
key: calls
name: Calls
currency: USD
period: month
prices:
  - {key: calls, name: Calls, type: usage, meter: calls, model: per_unit, unit: "0.10"}
"""


def lines(*words: object) -> list[str]:
    """What a command that succeeds prints."""
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_the_list_says_what_each_is() -> None:
    listed = lines("plan", "gallery")
    titles = [line for line in listed if not line.startswith(" ")]
    assert [line.split()[0] for line in titles] == names()
    at = listed.index(next(line for line in listed if line.startswith("openai-api ")))
    assert listed[at].split(maxsplit=1)[1].startswith("OpenAI API: a price per million tokens")
    assert listed[at + 1].strip() == "dimensional, multipliers; the provider's price page, 2026"
    assert not any(name.startswith("demo-") for name in names())


def test_a_word_narrows_the_list() -> None:
    found = lines("plan", "gallery", "Stairstep")
    assert [line.split()[0] for line in found if not line.startswith(" ")] == [
        "five-shapes", "lovable",
    ]  # fmt: skip
    nothing = run("plan", "gallery", "zeppelin")
    assert nothing.exit_code == 1
    assert "No entry of the gallery holds zeppelin." in nothing.stderr


def test_an_entry_is_printed_or_written(tmp_path: Path) -> None:
    text = (PLANS / "openai-api.yaml").read_text(encoding="utf-8")
    assert "\n".join(lines("plan", "gallery", "openai-api")) + "\n" == text
    file = tmp_path / "my.yaml"
    lines("plan", "gallery", "openai-api", "--output", file)
    assert file.read_text(encoding="utf-8") == text
    again = run("plan", "gallery", "openai-api", "--output", file)
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)
    assert run("plan", "gallery", "openai-api", "-o", tmp_path / "no" / "my.yaml").exit_code == 1
    assert run("plan", "gallery", "openai", "--output", tmp_path / "other.yaml").exit_code == 2


def test_from_the_gallery_to_a_new_server(database_url: str, tmp_path: Path) -> None:
    """All entries fit on one server; meters that are there as they are are not touched."""
    file = tmp_path / "my.yaml"
    file.write_text(run("plan", "gallery", "flat-per-image").stdout, encoding="utf-8")
    with serving(tmp_path / "log", "--port", 0, "--sandbox", DATABASE_URL=database_url) as server:
        reached = {"TAXIMETER_URL": server.url, "TAXIMETER_API_KEY": KEY}

        def plan(*words: object) -> list[str]:
            result = run("plan", *words, **reached)
            assert result.exit_code == 0, result.output
            return result.stdout.splitlines()

        assert plan("check", file, "--server")[-1] == "meters images: ok"
        assert plan("diff", file) == [
            "meter images: not published yet", "flat-per-image: not published yet",
        ]  # fmt: skip
        assert plan("deploy", file, "--dry-run") == [
            "meter images: would create version 1",
            "flat-per-image: would create version 1",
        ]
        assert plan("deploy", file) == [
            "meter images: created version 1", "flat-per-image: created version 1",
        ]  # fmt: skip
        assert plan("deploy", file) == ["flat-per-image: unchanged, version 1"]
        file.write_text(file.read_text().replace("unit: images", "unit: pictures"))
        assert plan("diff", file)[0] == "meter images: differs from version 1"
        assert plan("deploy", file)[0] == "meter images: created version 2"
        everything = [PLANS / f"{name}.yaml" for name in names()]
        assert "meter images: created version 3" in plan("deploy", *everything)
        again = plan("deploy", *everything)
        assert [line for line in again if not line.endswith("unchanged, version 1")] == []
        missing = run("plan", "deploy", write(tmp_path, METERS.partition("---\n")[2]), **reached)
        assert "There is no meter calls." in missing.stderr


def write(folder: Path, text: str) -> Path:
    file = folder / "plans.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_meters_alone_are_a_file_too(tmp_path: Path) -> None:
    file = write(tmp_path, METERS.partition("---\n")[0])
    assert lines("plan", "check", file) == ["meters calls: ok"]
    preview = run("plan", "preview", file)
    assert preview.exit_code == 2


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("count", "sum", "2:5: meters[0].value: Missing."),
        ("count", "cuont", "2:49: meters[0].aggregation: "),
        ("key: calls, event", "event", "2:5: meters[0].key: Missing."),
        ("\n---", "\nmeter: []\n---", "3:1: meter: There is no such field."),
        ("\n---", "\n  - 7\n---", "3:5: meters[1]: This is a whole number."),
        ("\n---", "\n  - {key: calls, event_type: x, aggregation: count}\n---", "3:11: meters[1]"),
        (METERS.partition("---\n")[0], "meters: []\n", "1:9: meters: This list is empty."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_meter_has_its_place(
    tmp_path: Path, old: str, new: str, error: str
) -> None:
    file = write(tmp_path, METERS.replace(old, new, 1))
    result = run("plan", "check", file)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{file}:{error}"), result.stderr


def test_two_files_agree_about_a_meter(tmp_path: Path) -> None:
    write(tmp_path, METERS)
    other = tmp_path / "second.yaml"
    other.write_text(METERS.partition("---\n")[0], encoding="utf-8")
    assert run("plan", "check", tmp_path).exit_code == 0
    other.write_text(METERS.partition("---\n")[0].replace("unit: calls", "unit: requests"))
    result = run("plan", "check", tmp_path)
    assert result.exit_code == 1
    assert f"{other}:2:11: meters[0].key: This meter stands in {tmp_path}/" in result.stderr
