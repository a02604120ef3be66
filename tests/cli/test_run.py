"""`helmframe run` and `helmframe explain`: what they print, write and refuse."""

import os
import pty
import re
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe.cli.app import main
from tests.models.tiny import gpt2_folder

MUSIC = "sampler:subject=music,model=oracle()"

CONF = 'entries: [{description: "mmlu:subject=philosophy,model=geclm/gpt2_local", priority: 1}]'


def typed(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a shell makes of the command, with `python` the one that runs the tests."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": places, "PYTHONPATH": str(Path(hf.__file__).parents[1]), **variables}
    return subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def sum_of_n(said: str) -> int:
    """Over the column n, which stands right below its head."""
    heads, *rows = tables(said)
    end = re.search(r"\bn\b", heads)
    assert end is not None
    return sum(int(row[: end.end()].split()[-1]) for row in rows)


def tables(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith(("scenario", "mmlu", "sampler"))]


@pytest.mark.shared
def test_the_users_command_prints_a_table_of_ten_instances(shared: Path, here: Path) -> None:
    gpt2_folder(here / "gpt2_local")
    said = f"""
        echo '{CONF}' > run_specs.conf
        python -m helmframe run --conf-paths run_specs.conf --local --suite v1 --max-eval-instances 10 -n 1
    """
    first = typed(said, here, HELMFRAME_DATA=str(shared / "scenarios"))
    assert (first.returncode, "Traceback" in first.stderr) == (0, False)
    assert "--local is ignored" in first.stderr
    assert "helmframe: 10 of 10 completions" in first.stderr
    rows = [line.split() for line in first.stdout.splitlines() if line.startswith("mmlu")]
    assert {row[2] for row in rows} == {"geclm/gpt2_local"}
    assert sum_of_n(first.stdout) == 10
    again = typed(said, here, HELMFRAME_DATA=str(shared / "scenarios"))
    assert again.returncode == 0
    assert again.stderr.endswith("helmframe: 10 of 10 completions of 'geclm/gpt2_local' cached.\n")
    assert tables(again.stdout) == tables(first.stdout)


def test_an_entry_is_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "sampler:subject=music,model=noisy(accuracy=0.6, seed=81)", "-m", "8"]) == 0
    out, err = capsys.readouterr()
    assert sum_of_n(out) == 8
    assert "noisy(accuracy=0.6, seed=81)" in out
    assert "helmframe: 8 of 8 completions\n" in err


def test_only_results_go_to_stdout(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", MUSIC, "-m", "4", "--local"])
    out, _ = capsys.readouterr()
    assert out.startswith("scenario")
    assert "helmframe:" not in out


def test_a_perturbed_entry_has_a_robustness_table_of_the_main_metric(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", f"{MUSIC},data_augmentation=lower", "-m", "4"]) == 0
    _, robustness = capsys.readouterr().out.split("\nrobustness\n")
    assert "exact_match" in robustness
    assert "quasi_exact_match" not in robustness


def test_a_plan_file_is_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hf.scenario("sampler").where(subject="music").limit(3).generate("oracle()").to_yaml("plan.yaml")
    assert main(["run", "plan.yaml"]) == 0
    assert sum_of_n(capsys.readouterr().out) == 3


@pytest.mark.shared
def test_a_suite_is_run_by_name(
    shared: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    main(["run", "lite", "--model", "oracle()", "-m", "1"])
    shown = capsys.readouterr().out
    assert re.search(r"^gsm8k .* 1.000 .* 1$", shown, re.MULTILINE)
    assert "skipped: med_qa × oracle" in shown


def test_options_say_what_a_plan_file_does_not(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hf.scenario("sampler").where(subject="music").to_yaml("plan.yaml")
    assert main(["run", "plan.yaml", "--models-to-run", "echo()", "-m", "2"]) == 0
    assert sum_of_n(capsys.readouterr().out) == 2


def own_scenario(folder: Path, right: list[bool]) -> None:
    """A plan file over instances of which some have no right answer, so that the oracle fails at them."""
    # the process remembers what it asked before, so each test asks of its own folder
    rows = [{"row_index": place, "input": f"{folder}, {place}?", "right": each} for place, each in enumerate(right)]
    pl.DataFrame(rows).write_parquet(folder / "rows.parquet")
    spec = """
        scenario: sums
        version: 1
        source: {rows: "{data}/rows.parquet"}
        instances: >
          SELECT row_index, 'test' AS split, input, [{'text': '2', 'correct': "right"}] AS "references" FROM rows
        adapter: {method: generation, shots: 0}
        metrics: [exact_match]
        main: {metric: exact_match}
    """
    (folder / "sums.yaml").write_text(textwrap.dedent(spec))
    (folder / "plan.yaml").write_text(f"scenario: ./sums.yaml\ndata: {folder}\ngenerate: oracle()\n")


def test_failed_requests_are_shown_with_the_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_scenario(here, [True, False])
    assert main(["run", "plan.yaml"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("1 of 2 requests failed: 1 × LookupError: instance 'id1' has no correct reference. Rerun")
    assert "1 of 2 requests failed. The first, for instance " in err
    assert "has no correct reference" in err


def test_a_run_without_any_answer_is_an_error(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_scenario(here, [False, False])
    assert main(["run", "plan.yaml"]) == 1
    assert "All 2 requests failed. The first, for instance " in capsys.readouterr().err


def test_a_conf_file_is_run_with_the_models_that_the_user_names(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '{description: "sampler:subject=music,model=text"}, {description: "sampler:model=text", priority: 2}'
    Path("run.conf").write_text(f"entries: [{text}]")
    assert main(["run", "run.conf", "--models-to-run", "echo()", "oracle()", "-m", "2", "--priority", "1"]) == 0
    assert sum_of_n(capsys.readouterr().out) == 4


def test_results_are_written_and_shown_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", MUSIC, "-m", "4", "--output-path", "out", "--suite", "v1"]) == 0
    first = capsys.readouterr()
    assert "helmframe: wrote out/runs/v1" in first.err
    assert main(["show", "out/runs/v1"]) == 0
    assert tables(capsys.readouterr().out) == tables(first.out)


def test_a_folder_of_results_is_not_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ["run", MUSIC, "-m", "4", "--output-path", "out"]
    main(said)
    capsys.readouterr()
    assert main(said) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "helmframe: out/runs/default isn't empty. Choose another --suite, or remove the folder.\n"


def test_explain_asks_no_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ["sampler:subject=music,model=noisy(accuracy=0.6, seed=82)", "-m", "4"]
    assert main(["explain", *said]) == 0
    first, err = capsys.readouterr()
    assert "4 distinct requests: 0 cached, 4 to send" in first
    assert err == ""
    main(["run", "--dry-run", *said])
    assert capsys.readouterr().out == first


def test_explain_needs_no_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "sampler:subject=music", "-m", "4"]) == 0
    assert "4 instances" in capsys.readouterr().out


def test_limits_stop_a_run_and_the_same_command_resumes_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpt2_folder(here / "tiny")
    command = ["run", "sampler:subject=music,model=tiny", "-m", "4"]
    assert main([*command, "--max-requests", "1"]) == 0
    assert hf.runs()["generated"].to_list() == [1]
    assert main([*command, "--max-cost", "1e9", "--prices", "tiny=0.5,1.5"]) == 0
    assert hf.runs().sort("started")["generated"].to_list() == [1, 3]
    assert hf.runs()["cost"].max() > 0  # type: ignore[operator]
    (here / "prices.yaml").write_text("tiny: [1, 1]\nother: [1, 2, 0.5]\n")
    capsys.readouterr()
    assert main(["explain", *command[1:], "--prices", "prices.yaml", "other=1,2,0.5"]) == 0
    assert "price" not in capsys.readouterr().out  # all requests are cached
    assert main(["explain", *command[1:-1], "8", "--prices", "prices.yaml"]) == 0
    assert "tiny: estimated cost of the requests to send: $" in capsys.readouterr().out


@pytest.mark.parametrize("price", ["tiny", "tiny=1", "tiny=a,b", "=1,2", "tiny=1,2,3,4"])
def test_a_price_is_a_name_with_two_numbers(price: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", MUSIC, "--max-cost", "1", "--prices", price]) == 2
    assert f"--prices {price!r}: write NAME=PROMPT,OUTPUT" in capsys.readouterr().err


def on_a_terminal(words: list[str], reply: str, folder: Path) -> tuple[int, str]:
    """Return the exit code and the output of the command on a terminal on which a user types a line."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(Path(hf.__file__).parents[1])}
    command = [sys.executable, "-m", "helmframe", *words]
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, reply.encode())
        output = b""
        with suppress(OSError):  # the end of a terminal
            while chunk := os.read(ours, 4096):
                output += chunk
        code = process.wait(60)
    os.close(ours)
    return code, output.decode().replace("\r\n", "\n")


@pytest.fixture
def foreign_plan(tmp_path: Path) -> Path:
    """A plan that sends a variable to a server that doesn't run."""
    file = tmp_path / "plan.yaml"
    model = "http(url='http://0.0.0.0:9/v1', name='m', key_env='MY_KEY')"
    file.write_text(f'{{scenario: sampler, where: {{subject: music}}, limit: 1, generate: "{model}"}}')
    return file


EFFECT = "send the environment variable MY_KEY to 0.0.0.0"


def test_a_foreign_plan_is_explained_after_a_confirmation(foreign_plan: Path, tmp_path: Path) -> None:
    code, output = on_a_terminal(["explain", str(foreign_plan)], "y\n", tmp_path)
    assert f"{foreign_plan} would\n  {EFFECT}\nhelmframe: The option --trust-files skips this question." in output
    assert "contacts 0.0.0.0:9 (model m)" in output
    assert code == 0
    code, output = on_a_terminal(["explain", str(foreign_plan)], "\n", tmp_path)
    assert (code, "contacts" in output) == (2, False)


def test_a_foreign_plan_without_a_terminal_needs_the_option(
    foreign_plan: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "canary-0123456789")
    with Path(os.devnull).open() as nothing, monkeypatch.context() as patch:  # as under cron
        patch.setattr(sys, "stdin", nothing)
        assert main(["run", str(foreign_plan)]) == 2
    assert f"{foreign_plan} would {EFFECT}. If you trust the file" in capsys.readouterr().err
    assert main(["explain", "--trust-files", str(foreign_plan)]) == 0
    assert "contacts 0.0.0.0:9 (model m, with the key in MY_KEY)" in capsys.readouterr().err


def test_the_hosts_are_printed_before_the_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary-0123456789")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    file = tmp_path / "plan.yaml"
    file.write_text(
        "scenario: sampler\nlimit: 1\ngenerate: ['openai:gpt-4.1', 'litellm:groq/llama', 'http://10.0.0.1:8000/v1#m']\n"
        "metrics: [exact_match, \"judge(model='http://10.0.0.2/v1#j', template='safety')\", "
        "\"toxicity(classifier='http://10.0.0.3:80/x')\"]\n"
    )
    assert main(["explain", str(file)]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "contacts" in line]
    assert line == (
        "helmframe: contacts api.openai.com (model gpt-4.1, with the key in OPENAI_API_KEY), groq through litellm "
        "(model groq/llama), 10.0.0.1:8000 (model m), 10.0.0.2 (judge j), 10.0.0.3:80 (classifier)"
    )
    assert main(["explain", "sampler:subject=music,model=oracle()"]) == 0
    assert "contacts" not in capsys.readouterr().err


def test_a_traceback_and_an_error_have_no_credential(capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["--verbose"]):
        assert main(["run", "sampler:subject=music", "--model", "ftp://me:pw-canary@host/m", *options]) == 2
        assert "canary" not in capsys.readouterr().err


def test_a_conf_file_with_substitutions_needs_the_option(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBJECT", "music")
    file = tmp_path / "mine.conf"
    file.write_text('entries: [\n{description: "sampler:model=oracle(),subject="${SUBJECT}}]')
    assert main(["run", str(file)]) == 2
    assert "line 2: ${'SUBJECT'} isn't allowed" in capsys.readouterr().err
    assert main(["run", str(file), "--allow-substitution"]) == 0
    for words in (["explain"], ["list", "helm-entries", "--conf-paths"]):
        assert main([*words, str(file)]) == 2
        assert main([*words, str(file), "--allow-substitution"]) == 0
