"""The verbs of the command line: results, exit statuses, what goes where."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import landbridge
from landbridge.checking.regions import Checked
from landbridge.cli import VERBS, main, parser
from landbridge.simulators.ascend.make_om import make_om
from support.small_onnx import node, small_model

SHAPE = ("n", 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, an offline model for its middle, and the artifact of both."""
    folder = tmp_path_factory.mktemp("cli")
    nodes = [node("Relu", "image", "clean"), node("Sigmoid", "clean", "score"), node("Neg", "score", "result")]
    model = small_model(nodes, {"image": ("float32", SHAPE)}, {"result": ("float32", SHAPE)})
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    assert main(["split", str(folder / "model.onnx"), "--inputs", "clean", "--outputs", "score", "-o", str(folder / "middle.onnx")]) == 0
    (folder / "middle.om").write_bytes(make_om(str(folder / "middle.onnx"), gears=(1, 2, 4)))
    region = f"atlas0:{folder / 'middle.om'};inputs=clean;outputs=score"
    assert main(["compile", str(folder / "model.onnx"), "-o", str(folder / "model.lbr"), "--replace", region]) == 0
    return folder


def output(capsys: pytest.CaptureFixture[str], *command: object) -> str:
    capsys.readouterr()
    status = main([str(word) for word in command])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    return printed.out


def compiled(folder: Path, *more: str) -> list[str]:
    region = f"atlas0:{folder / 'middle.om'};inputs=clean;outputs=score"
    return ["compile", str(folder / "model.onnx"), "-o", str(folder / "other.lbr"), "--replace", region, *more]


def test_every_verb_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for module in VERBS:
        verb = module.__name__.rpartition(".")[2].replace("_", "-")
        assert main([verb, "--help"]) == 0
        text = capsys.readouterr().out
        assert f"example:\n  landbridge {verb}" in text, verb


def test_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["frobnicate"], ["run"], ["run", "x.lbr", "--fil", "ones"], []):
        assert main(command) == 2
        assert capsys.readouterr().err.startswith("usage: landbridge")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            ["--replace", "atlas0;inputs=a;outputs=b"],
            "--replace 'atlas0;inputs=a;outputs=b' is not of the form DEVICE:FILE;inputs=a,b;outputs=c",
        ),
        (["--offload", "openvino0"], "--offload 'openvino0' is not of the form DEVICE;inputs=a,b;outputs=c"),
        (["--shape", "image"], "--shape 'image' is not of the form NAME=1,3,224,224"),
        (["--stop-after", "insert-copys"], "mode auto has no pass 'insert-copys'\n  hint: did you mean 'insert-copies'?"),
        (["--report", "r.txt"], "--report 'r.txt': unknown kind of file '.txt'"),
    ],
)
def test_a_malformed_option_is_explained(option: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(folder / "model.onnx"), "-o", str(folder / "other.lbr"), *option]) == 2
    assert message in capsys.readouterr().err


def test_compile_says_what_it_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, *compiled(folder))
    assert text.endswith("2 crossings, 0 casts, 0 fallback regions\n")
    facts = json.loads(output(capsys, *compiled(folder, "--json")))
    assert facts["nbytes"] == (folder / "other.lbr").stat().st_size
    assert len(facts["report"]["copies"]) == 2


def test_compile_shows_the_inside(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(compiled(folder, "--dump-ir", str(folder / "ir"), "--print-after", "insert-copies", "--time-passes")) == 0
    errors = capsys.readouterr().err
    assert "# after insert-copies" in errors
    assert "insert-copies" in errors
    assert errors.count(" ms") >= 8
    files = sorted(path.name for path in (folder / "ir").iterdir())
    assert files[0] == "001_check-signatures.py"
    assert all(name.endswith(".py") for name in files)


def test_compile_stops_after_a_pass(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, *compiled(folder, "--stop-after", "infer-devices"))
    assert "call_dps_packed" in text
    assert "to_vdevice" not in text


def test_limits_on_what_crosses(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(compiled(folder, "--max-copies", "2", "--shape", "image=4,4", "--max-copy-bytes", "128")) == 0
    assert main(compiled(folder, "--shape", "image=4,4", "--max-copy-bytes", "127")) == 1
    assert "128 bytes cross in a run, --max-copy-bytes allows 127" in capsys.readouterr().err
    assert main(compiled(folder, "--max-copy-bytes", "128")) == 1
    assert "how many bytes cross depends on n" in capsys.readouterr().err


def test_reports_are_written_as_json_and_as_a_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output(capsys, *compiled(folder, "--report", str(folder / "r.json"), "--report", str(folder / "r.html")))
    report = json.loads((folder / "r.json").read_text())
    assert [copy["value"] for copy in report["copies"]] == ["clean", "score"]
    page = (folder / "r.html").read_text()
    assert "needed on atlas0 by middle.om" in page
    assert "http" not in page.replace("http-equiv", "")


def test_report_prints_what_the_artifact_holds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "report", folder / "model.lbr")
    assert "2 crossings, the minimum is 2" in text
    assert json.loads(output(capsys, "report", folder / "model.lbr", "--json"))["minimum_copies"] == 2


def test_inspect_shows_an_artifact_and_a_blob(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "inspect", folder / "model.lbr")
    assert "input  image: float32 [n, 4] on cpu" in text
    assert "offline model middle.om: atlas on atlas0" in text
    facts = json.loads(output(capsys, "inspect", folder / "middle.om", "--json"))
    assert facts["vendor"] == "atlas"
    assert facts["signature"]["gears"] == {"kind": "batch", "choices": [[1], [2], [4]]}


def test_run_takes_files_and_fills_the_rest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.array([[-1, 0, 1, 2]], "float32")
    np.save(folder / "x.npy", x)
    np.savez(folder / "x.npz", image=x)
    expected = -1 / (1 + np.exp(-np.maximum(x, 0)))
    for given in (f"image={folder / 'x.npy'}", folder / "x.npz"):
        output(capsys, "run", folder / "model.lbr", "-i", given, "-o", folder / "y.npz", "--simulate", "atlas")
        np.testing.assert_allclose(np.load(folder / "y.npz")["result"], expected, atol=2e-3)  # the offline model works in float16
    text = output(
        capsys, "run", folder / "model.lbr", "--fill", "zeros", "--dim", "n=7", "--print-top", "2", "--repeat", "3", "--simulate", "atlas"
    )
    assert "result: float32 [7, 4]\n       0,0  -0.5\n" in text
    assert "3 runs: median " in text
    assert "simulated: atlas" in text
    facts = json.loads(output(capsys, "run", folder / "model.lbr", "--fill", "random", "--simulate", "atlas", "--json"))
    assert facts["outputs"] == {"result": {"dtype": "float32", "shape": [1, 4]}}
    assert facts["simulated"] == ["atlas"]


def test_random_inputs_follow_the_seed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for seed in (1, 1, 2):
        output(capsys, "run", folder / "model.lbr", "--fill", "random", "--seed", seed, "-o", folder / "y.npz", "--simulate", "atlas")
        found.append(np.load(folder / "y.npz")["result"].tobytes())
    assert found[0] == found[1] != found[2]


def test_a_profile_is_a_trace_of_every_step(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output(capsys, "run", folder / "model.lbr", "--fill", "ones", "--profile", folder / "trace.json", "--simulate", "atlas")
    events = [event for event in json.loads((folder / "trace.json").read_text())["traceEvents"] if event["ph"] == "X"]
    assert [(event["cat"], event["name"]) for event in events] == [
        ("host", "clean"),
        ("copy in", "clean"),
        ("execute", "middle.om"),
        ("copy out", "score"),
        ("host", "result"),
    ]
    assert all(event["dur"] >= 0 for event in events)


def test_split_says_what_it_cut_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "split", folder / "model.onnx", "--inputs", "clean", "--outputs", "score", "-o", folder / "part.onnx")
    assert "1 nodes\n  input  clean: float [n, 4]\n  output score: float [n, 4]" in text


def test_errors_are_json_where_that_was_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["report", str(folder / "none.lbr"), "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert "none.lbr" in error["message"] + error.get("at", "")


def test_results_go_to_standard_output_and_a_closed_pipe_is_no_error(folder: Path) -> None:
    source = str(Path(landbridge.__file__).parents[1])
    command = f"{sys.executable} -m landbridge inspect {folder / 'model.lbr'} | head -n 1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=True, env={"PYTHONPATH": source, "PATH": "/usr/bin:/bin"}
    )
    assert (done.stdout, done.stderr) == (f"{folder / 'model.lbr'}\n", "")


def test_abbreviations_are_not_options() -> None:
    assert not parser().allow_abbrev


@pytest.mark.parametrize("words", [[], ["-v"]])
def test_without_a_verb_the_help_is_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.endswith(
        "error: no verb is given; landbridge --help lists them\n  code: LB1101 (landbridge explain LB1101)\n"
    )


def test_a_misspelt_verb_is_corrected(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["veirfy", "x.lbr"]) == 2
    assert capsys.readouterr().err.endswith(
        "error: there is no verb 'veirfy': did you mean 'verify'?\n  code: LB1101 (landbridge explain LB1101)\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--simulat", "atlas"], "there is no option '--simulat': did you mean '--simulate'?"),
        (["--simulat=atlas"], "there is no option '--simulat': did you mean '--simulate'?"),
        (["again"], "unrecognized arguments: again"),
    ],
)
def test_a_misspelt_option_is_corrected(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "x.lbr", *words]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("usage: landbridge run ")
    assert printed.endswith(f"\nerror: {message}\n  code: LB1101 (landbridge explain LB1101)\n")


def test_nothing_is_written_where_the_report_cannot_be(folder: Path) -> None:
    (folder / "unwritten.lbr").unlink(missing_ok=True)
    assert main(["compile", str(folder / "model.onnx"), "-o", str(folder / "unwritten.lbr"), "--report", "r.txt"]) == 2
    assert not (folder / "unwritten.lbr").exists()


@pytest.mark.parametrize("level", ["off", "fast", "full"])
def test_compile_checks_as_it_is_told(level: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def check(placed: object, artifact: object, wanted: str) -> Checked:
        asked.append(wanted)
        return Checked()

    monkeypatch.setattr("landbridge.compiler.check_apart", check)
    assert main(["compile", str(folder / "model.onnx"), "-o", str(folder / "checked.lbr"), "--check", level]) == 0
    assert asked == [level]
