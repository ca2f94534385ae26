"""`taximeter plan check` and `preview`: plans as files, without a server."""

import json
from pathlib import Path

import pytest
import yaml

from taximeter.cli.plan_file import PlanFileError, Unquoted, read_documents, read_plan_file
from taximeter.services.plan_yaml import plan_yaml
from tests.cli.command_line import run

SCALE = """\
key: scale
name: Scale
currency: USD
period: month
prices:
  - {key: platform, type: flat, amount: "499.00", timing: advance}
  - {key: seats, type: seat, model: per_unit, unit: "20.00"}
  - key: resolutions
    type: usage
    meter: resolutions
    model: graduated
    tiers: [{up_to: "5000", unit: "0"}, {unit: "0.30"}]
    discount: {percent: "10"}
"""
VIDEO = """\
key: video
currency: USD
period: month
prices:
  - key: video
    type: usage
    meter: minutes
    model: dimensional
    dimensions: [speed]
    otherwise: quarantine
    rates:
      - {match: {speed: fast}, unit: "1.00"}
      - {match: {speed: "standard"}, unit: "0.40"}
"""
LIMITED = """\
key: limited
currency: USD
period: month
prices:
  - {key: fee, type: flat, amount: "9.00"}
entitlements:
  - {feature: sso, value: true}
  - feature: queries
    meter: queries
    limit: "1000"
    window: day
  - {feature: runs, concurrency: "3"}
"""


def write(folder: Path, text: str | bytes) -> Path:
    """A plan file with this text."""
    file = folder / "plan.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def findings(folder: Path, text: str | bytes) -> list[str]:
    """What `plan check` prints of a file with this text: line, path and sentence of each."""
    file = write(folder, text)
    result = run("plan", "check", file)
    assert result.exit_code == 1
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("    ")]
    assert all(line.startswith(f"{file}:") for line in lines)
    places = (line.removeprefix(f"{file}:").split(":", 2) for line in lines)
    return [f"{line}:{what}" for line, _, what in places]


def test_good_plans_are_named(tmp_path: Path) -> None:
    file = write(tmp_path, f"{SCALE}---\n{VIDEO}---\n")
    result = run("plan", "check", file)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{file}: scale: ok, 3 prices in USD",
        f"{file}: video: ok, 1 price in USD",
    ]


def test_errors_of_every_document_have_their_line(tmp_path: Path) -> None:
    broken = SCALE.replace('unit: "0"', 'unti: "0"').replace('"20.00"', '"20,00"')
    found = findings(tmp_path, f"{broken}---\n{VIDEO.replace('USD', 'usd')}")
    assert [line.split(": ")[:2] for line in found] == [
        ["7", "prices[1].unit"],
        ["12", "prices[2].tiers[0].unti"],
        ["16", "currency"],
    ]
    assert "Did you mean unit? Else leave it out." in found[1]
    assert "Say USD." in found[2]


def test_plans_are_checked_by_the_meters_that_stand_with_them(tmp_path: Path) -> None:
    meters = "meters:\n  - {key: minutes, event_type: video, aggregation: sum, value: n}\n"
    detail = "prices[0].dimensions[0]: The meter minutes does not keep speed apart. Add it there."
    assert findings(tmp_path, f"{meters}---\n{VIDEO}")[0] == f"12: {detail}"
    # Without --- it is one document, and the cure says so.
    assert findings(tmp_path, meters + VIDEO) == [
        "1: meters: Meters stand in a document of their own. Write --- between them and the plan."
    ]
    wrong = meters.replace("sum", "summ")
    found = findings(tmp_path, f"{wrong}---\n{VIDEO}")  # the plan is not judged by a wrong meter
    assert [line.split(": ")[:2] for line in found] == [["2", "meters[0].aggregation"]]


def test_a_missing_field_has_the_line_of_its_object(tmp_path: Path) -> None:
    found = findings(tmp_path, SCALE.replace("    meter: resolutions\n", ""))
    assert found == ["8: prices[2].meter: Missing. Say the key of a meter."]


@pytest.mark.parametrize(
    ("written", "cure"),
    [
        ("499.00", 'Write it in quotes: "499.00".'),
        ("0.1", 'Write it in quotes: "0.1".'),
        (".5", "Write plain digits in quotes"),
        ("1e3", "Write plain digits in quotes"),
        ("1_000", "Write plain digits in quotes"),
        ("010", "Write plain digits in quotes"),
        ("0x1F", "Write plain digits in quotes"),
        (".inf", "Write plain digits in quotes"),
        ("9" * 30, "Write plain digits in quotes"),
    ],
)
def test_a_number_that_may_be_misread_is_refused(tmp_path: Path, written: str, cure: str) -> None:
    found = findings(tmp_path, SCALE.replace('"499.00"', written))
    assert len(found) == 1
    assert found[0].startswith(f"6: prices[0].amount: {written} ")
    assert cure in found[0]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("5000", 5000), ("-5", -5), ('"5000"', "5000"), ("'0.30'", "0.30"), ("true", True),
        ("False", False), ("no", "no"), ("on", "on"), ("null", None), ("~", None), ("", None),
        ("2026-01-01", "2026-01-01"), ("1:30", "1:30"), ("0.30", Unquoted("0.30")),
    ],
)  # fmt: skip
def test_scalars_are_read_by_the_core_schema(tmp_path: Path, written: str, value: object) -> None:
    document = read_documents(write(tmp_path, f"key: {written}\n"))[0]
    assert document.body == {"key": value}
    assert type(document.body["key"]) is type(value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "1: There is no plan in this file."),
        ("# nothing\n---\n", "1: There is no plan in this file."),
        ("key: a\nkey: b\n", "2: key: This stands on line 1 already. Keep one of them."),
        ("- key: a\n", "1: This is no plan. Write fields such as key: and prices:."),
        ("key: !!python/object:os.system x\n", "1: key: Tags such as"),
        ("? [a]\n: b\n", "1: A field's name is a text."),
        ("key: &a [*a]\n", "1: key[0]"),
        ("key: {a: 1\n", "2: This is no valid YAML"),
        ("a:\n\tb: 1\n", "2: This is no valid YAML"),
        ("key: a\x07\n", "1: The character U+0007"),
        (b"key: a\nname: \xff\n", "2: This is not UTF-8."),
        ("[" * 5000, "1: This is nested too deeply."),
    ],
)
def test_what_is_no_plan_file(tmp_path: Path, text: str | bytes, found: str) -> None:
    lines = findings(tmp_path, text)
    assert len(lines) == 1
    assert lines[0].startswith(found)


def test_a_bomb_of_aliases_is_stopped(tmp_path: Path) -> None:
    # Nine levels of nine aliases are 9^9 values.
    levels = "".join(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    with pytest.raises(PlanFileError, match="1 findings"):
        read_documents(write(tmp_path, f"k0: &a0 [x]\n{levels}"))


def test_a_plan_stands_once_in_a_file(tmp_path: Path) -> None:
    assert findings(tmp_path, f"{VIDEO}---\n{VIDEO}") == [
        "15: key: The plan video stands on line 1 already. Keep one of them."
    ]


def test_one_bad_file_does_not_hide_the_others(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(VIDEO)
    bad.write_text("key: 1\n")
    result = run("plan", "check", bad, good)
    assert result.exit_code == 1
    assert result.stdout == f"{good}: video: ok, 1 price in USD\n"


def test_preview_shows_lines_and_steps(tmp_path: Path) -> None:
    file = write(tmp_path, SCALE)
    result = run(
        "plan", "preview", file, "--quantity", "seats=5", "--usage", "resolutions=7250"
    )  # fmt: skip
    # 499.00 + 5 x 20.00 + 2,250 x 0.30 x 0.90 = 499.00 + 100.00 + 607.50 = 1,206.50
    assert result.exit_code == 0
    for said in ("499.00 USD", "100.00 USD", "607.50 USD", "1206.50 USD", "2250 at 0.3"):
        assert said in result.stdout


def test_preview_of_dimensions(tmp_path: Path) -> None:
    file = write(tmp_path, f"{SCALE}---\n{VIDEO}")
    usage = ["--usage", "video[speed=fast]=10", "--usage", "video[speed=standard]=25"]
    result = run("plan", "preview", file, "--plan", "video", *usage)
    # 10 x 1.00 + 25 x 0.40 = 20.00
    assert result.exit_code == 0
    assert "20.00 USD" in result.stdout


def test_preview_of_a_wallet_is_not_invoiced(tmp_path: Path) -> None:
    price = '{key: a, type: usage, meter: a, model: per_unit, unit: "0.125", asset: credits'
    text = f"key: w\ncurrency: USD\nperiod: month\nprices:\n- {price}, settle: wallet}}\n"
    result = run("plan", "preview", write(tmp_path, text), "--usage", "a=3")
    # 3 x 0.125 = 0.375 credits, unrounded
    assert "0.375 credits" in result.stdout
    assert "0.00 USD" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--usage", "resolutions=1e3"], 2, "plain digits"),
        (["--usage", "resolutions"], 2, "PRICE=NUMBER"),
        (["--usage", "video[speed]=1"], 2, "PRICE[name=value,...]=NUMBER"),
        (["--quantity", "seats[a=b]=1"], 2, "no dimensions"),
        (["--quantity", "seats=1", "--quantity", "seats=2"], 2, "Say it once"),
        (["--usage", "nothing=1"], 1, "--usage nothing: The plan has no usage price"),
        (["--quantity", "seats=-1"], 1, "--quantity seats: Say a number of 0 or more"),
        (["--plan", "other"], 2, "has the plans scale"),
    ],
)
def test_a_preview_that_cannot_be(
    tmp_path: Path, arguments: list[str], status: int, said: str
) -> None:
    result = run("plan", "preview", write(tmp_path, SCALE), *arguments)
    assert result.exit_code == status
    assert said in result.stderr


@pytest.mark.parametrize(
    "text", [SCALE, VIDEO, LIMITED, SCALE.replace("name: Scale", 'name: "1e3"')]
)
def test_an_exported_plan_reads_back_the_same(tmp_path: Path, text: str) -> None:
    before = read_plan_file(write(tmp_path, text)).plans[0]
    # The database gives the fields back in another order.
    body = dict(sorted(before.document.body.items(), reverse=True))
    exported = plan_yaml(body)
    assert exported.startswith("key: ")
    assert yaml.safe_load(exported) == before.document.body
    assert read_plan_file(write(tmp_path, exported)).plans[0].plan == before.plan


def test_errors_of_entitlements_have_their_line(tmp_path: Path) -> None:
    broken = LIMITED.replace('"1000"', "1,000").replace("window: day", "window: fortnight")
    broken = broken.replace('"3"', "some").replace("value: true", "value: 1.5")
    found = findings(tmp_path, broken)
    assert [line.split(": ")[:2] for line in found] == [
        ["7", "entitlements[0].value"],
        ["10", "entitlements[1].limit"],
        ["11", "entitlements[1].window"],
        ["12", "entitlements[2].concurrency"],
    ]


def test_the_line_is_shown_with_a_caret(tmp_path: Path) -> None:
    text = SCALE.replace('"5000"', '"5,000"').replace(
        "    model: graduated", "    modle: graduated"
    )
    file = write(tmp_path, text)
    shown = run("plan", "check", file).stderr.splitlines()
    assert shown[0].startswith(f"{file}:11:5: prices[2].modle: There is no such field.")
    assert shown[1:3] == ["        modle: graduated", "        ^~~~~"]


def test_a_value_is_pointed_at_where_it_stands(tmp_path: Path) -> None:
    file = write(tmp_path, SCALE.replace('"5000"', '"5,000"'))
    shown = run("plan", "check", file).stderr.splitlines()
    assert shown[0].startswith(f"{file}:12:21: prices[2].tiers[0].up_to: ")
    assert shown[1:] == [
        '        tiers: [{up_to: "5,000", unit: "0"}, {unit: "0.30"}]',
        f"{'':24}^~~~~~~",
    ]


def test_a_long_line_is_cut_round_what_is_meant(tmp_path: Path) -> None:
    tiers = ", ".join(f'{{up_to: "{n}", unit: "1"}}' for n in (*range(1, 60), "x", 61))
    file = write(tmp_path, SCALE.replace('{up_to: "5000", unit: "0"}', tiers))
    _, line, caret = run("plan", "check", file).stderr.splitlines()
    assert len(line) <= 4 + 160
    assert line[caret.index("^") :].startswith('"x"')


def test_warnings_refuse_nothing(tmp_path: Path) -> None:
    text = SCALE.replace('unit: "0"}, {unit: "0.30"}', 'unit: "0.20"}, {unit: "0.30"}')
    file = write(tmp_path, text)
    result = run("plan", "check", file)
    assert result.exit_code == 0
    assert result.stdout == f"{file}: scale: ok, 3 prices in USD\n"
    shown = result.stderr.splitlines()
    assert shown[0].startswith(f"{file}:6:5: warning: prices[0].name: Invoices will print the keys")
    assert shown[3].startswith(f"{file}:12:51: warning: prices[2].tiers[1].unit: Tier 2 is dearer")


def test_findings_for_programs(tmp_path: Path) -> None:
    file = write(tmp_path, SCALE.replace("USD", "usd"))
    result = run("plan", "check", file, "--format", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "valid": False,
        "errors": [
            {
                "file": str(file), "line": 3, "column": 11, "path": "currency",
                "code": "unknown_currency",
                "detail": '"usd" is no ISO 4217 currency. Say USD.',
            },
        ],
        "warnings": [],
        "plans": [],
    }  # fmt: skip


def test_a_directory_is_checked_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "b.yaml").write_text(VIDEO)
    (tmp_path / "inner" / "a.yml").write_text(SCALE)
    (tmp_path / "notes.txt").write_text("no plan")
    result = run("plan", "check", tmp_path, tmp_path / "b.yaml")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{tmp_path}/b.yaml: video: ok, 1 price in USD",
        f"{tmp_path}/inner/a.yml: scale: ok, 3 prices in USD",
    ]
    (tmp_path / "c.yaml").write_text(VIDEO)
    twice = run("plan", "check", tmp_path)
    assert twice.exit_code == 1
    detail = f"The plan video stands in {tmp_path}/b.yaml already. Keep one of them."
    assert twice.stderr.startswith(f"{tmp_path}/c.yaml:1:6: key: {detail}\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no plan files" in run("plan", "check", empty).stderr


def test_two_plans_of_a_family_differ_by_their_segment(tmp_path: Path) -> None:
    family = "family: video\nsegment: {region: eu}\n"
    other = VIDEO.replace("key: video\ncur", "key: video-2\ncur")
    file = write(tmp_path, f"{family}{VIDEO}---\n{family}{other}")
    result = run("plan", "check", file)
    assert result.exit_code == 1
    assert result.stdout == f"{file}: video: ok, 1 price in USD\n"
    detail = "Plan video of the family video is for region eu in USD already. Say another segment."
    assert result.stderr.startswith(f"{file}:18:10: segment: {detail}\n")


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('{up_to: "5000", unit: "0"}, ', '{up_to: "9", unit: "0"}, {up_to: "9", unit: "1"}, ',
         "12: prices[2].tiers[1].up_to", "Bounds must ascend. Say more than 9"),
        ('{up_to: "5000", unit: "0"}', '{unit: "0"}',
         "12: prices[2].tiers[0].up_to", "Only the last tier is without end."),
        ('unit: "20.00"', 'unit: "-20.00"', "7: prices[1].unit", "Say a number of 0 or more."),
        (', unit: "20.00"', "", "7: prices[1].unit", "Missing. Say a number in quotes"),
        ("    meter: resolutions", "    meter: [m]", "10: prices[2].meter", "is no key"),
        ("    discount:", "    asset: EUR\n    discount:", "13: prices[2].asset",
         "An invoice has one currency. Say USD"),
    ],
)  # fmt: skip
def test_bad_prices_are_refused_with_line_field_and_cure(
    tmp_path: Path, old: str, new: str, line: str, said: str
) -> None:
    assert old in SCALE
    [found] = findings(tmp_path, SCALE.replace(old, new))
    assert found.startswith(f"{line}: ")
    assert said in found


def test_a_rate_asks_for_a_dimension_of_its_price(tmp_path: Path) -> None:
    [found] = findings(tmp_path, VIDEO.replace("{speed: fast}", "{colour: red}"))
    assert found.startswith("12: prices[0].rates[0].match.colour: ")
    assert "is not among the price's dimensions. List it there." in found


def test_the_schema_is_printed() -> None:
    schema = json.loads(run("plan", "schema").stdout)
    assert schema["else"]["required"] == ["key", "currency", "period", "prices"]
