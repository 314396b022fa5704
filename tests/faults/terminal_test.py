"""Standard streams that are closed, broken or cannot show a character, and the end of a process."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crnn_jax.cli import main
from crnn_jax.errors import RunError
from crnn_jax.runtime import limits, terminal

ROOT = Path(__file__).resolve().parents[2]
START = "import os, sys; from crnn_jax.runtime import terminal; terminal.prepare(); "


def _python(code: str, redirect: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'exec "$0" "$@" {redirect}', sys.executable, "-c", START + code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, **more)


def test_closed_streams_are_replaced_and_their_descriptors_stay_taken(tmp_path: Path) -> None:
    """Otherwise the next opened file would receive the output of libraries."""
    out = tmp_path / "out"
    code = (
        f"file = open({str(out)!r}, 'w'); print('lost'); print('lost', file=sys.stderr); "
        "print(sys.stdin.read(), sys.stdout.isatty(), file.fileno(), file=file)"
    )
    done = _python(code, "<&- >&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert out.read_text() == " False 3\n"


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_a_command_that_only_prints_needs_an_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    monkeypatch.setattr(terminal, "_closed", {"stdout"})
    assert main.main([verb, "run", *(["x.png"] if verb == "predict" else [])]) == 2
    assert capsys.readouterr().err.startswith("error: standard output is closed")


@pytest.mark.parametrize("flags", [[], ["-u"]])
def test_work_goes_on_when_the_reader_of_its_output_goes_away(tmp_path: Path, flags: Any) -> None:
    done_file = tmp_path / "done"
    code = (
        "terminal.outlive_output()\n"
        "def work():\n"
        "    for i in range(3):\n"
        "        print('x' * 100_000, flush=True)\n"
        f"    open({str(done_file)!r}, 'w').close()\n"
        "terminal.leave(terminal.conclude(work, 1))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, *flags, "-c", START + "\n" + code], cwd=ROOT, text=True,
                          stdout=writer, stderr=subprocess.PIPE, timeout=60)  # fmt: skip
    os.close(writer)
    assert done.returncode == 0
    assert done.stderr == "note: standard output was closed by its reader; the run continues\n"
    assert done_file.exists()


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", b"\\xe9 \\u65e5 \\udcff\n"), ("utf-8", "é 日 ".encode() + b"\xff\n")],
)
def test_characters_that_a_terminal_lacks_are_escaped(encoding: str, shown: Any) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", START + r"print('\xe9 \u65e5 \udcff')"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (shown, b"")


def test_a_process_ends_although_a_thread_waits() -> None:
    """Threads of Orbax wait like this after some errors."""
    code = (
        "import threading; threading.Thread(target=threading.Event().wait).start(); "
        "terminal._TIMEOUT = 0.3; print('said'); terminal.leave(3)"
    )
    done = _python(code)
    assert (done.returncode, done.stdout) == (3, "said\n")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (RunError("of a run"), 2, "error: of a run\n"),
        (MemoryError(), 2, "error: out of memory\n"),
        (RuntimeError("can't start new thread"), 2, f"error: {limits.NO_THREADS}\n"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nat x"),
            2,
            "error: out of memory (RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.)\n",
        ),
        (OSError(24, "Too many open files"), 2, "error: Too many open files\n"),
        (BrokenPipeError(32, "Broken pipe"), 1, ""),
        (SystemExit("in words"), 1, "in words\n"),
        (SystemExit(4), 4, ""),
    ],
)
def test_each_error_is_one_line_and_a_status(
    capsys: pytest.CaptureFixture[str], error: Any, status: int, said: str
) -> None:
    def call() -> None:
        raise error

    assert terminal.conclude(call, failure=2) == status
    assert capsys.readouterr().err == said


def test_a_runtime_error_of_ours_keeps_its_traceback() -> None:
    def call() -> None:
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        terminal.conclude(call, failure=2)


@pytest.mark.parametrize("program", ["run.py", "-m crnn_jax"])
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs another user")
def test_a_limit_on_threads_is_one_line_before_jax_aborts(tmp_path: Path, program: str) -> None:
    """The limit is for a user other than root; jax is imported before, because it lies in /root."""
    code = (
        "import resource; import jax, platformdirs; import crnn_jax.cli.main, run\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (4, 4)); os.setuid(65532)\n"
        f"sys.argv = [{program.split()[-1]!r}, *sys.argv[1:]]\n"
        + ("status = run.run()" if program == "run.py" else "status = crnn_jax.cli.main.main()")
        + "\nterminal.leave(status)"
    )
    arguments = {
        "run.py": ["--config", "experiments/tiny.py", "--workdir", str(tmp_path / "run")],
        "-m crnn_jax": ["evaluate", str(tmp_path / "run")],
    }[program]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", START + "\n" + code, *arguments], cwd=ROOT,
                          env=environment, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode in (1, 2)
    said = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert said == [f"error: {limits.NO_THREADS}"]
