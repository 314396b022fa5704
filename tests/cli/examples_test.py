"""The examples in the help of commands, and completion in a shell."""

import shlex
import subprocess
from unittest import mock

import pytest

from crnn_jax import runtime
from crnn_jax.cli import examples, main


def parsed(arguments: list[str]) -> str:
    """Parses a command line and returns the name of the function that it would call."""
    called: list[str] = []
    with (
        mock.patch.object(main.terminal, "conclude", lambda call, failure: call.__closure__),
        mock.patch.object(main.terminal, "prepare"),
        mock.patch.object(runtime, "configure"),
        mock.patch.object(main.argparse.ArgumentParser, "parse_args", _parse(called)),
    ):
        main.main(arguments)
    return called[0]


def _parse(called: list[str]):  # type: ignore[no-untyped-def]
    parse = main.argparse.ArgumentParser.parse_args

    def call(self, arguments):  # type: ignore[no-untyped-def]
        options = parse(self, arguments)
        called.append(options.call.__name__)
        return options

    return call


@pytest.mark.parametrize(
    ("name", "rest"), [(name, rest) for name, some in examples.EXAMPLES.items() for rest in some]
)
def test_the_example_is_a_command_line_that_is_accepted(name: str, rest: str) -> None:
    assert parsed([name, *shlex.split(rest)])


def test_every_listed_command_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["--help"])
    listed = {
        line.split()[0]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("    ") and line[4:5].strip()
    } - {"COMMAND"}
    assert listed == set(examples.EXAMPLES)
    with pytest.raises(SystemExit):
        main.main(["predict", "--help"])
    assert "  crnn-jax predict general image.png\n" in capsys.readouterr().out


def test_bash_completes_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit):
        main.main(["--print-completion", "bash"])
    script = capsys.readouterr().out

    def completed(*words: str) -> set[str]:
        line = " ".join(map(shlex.quote, words))
        ask = f"""
            COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}
            $(complete -p crnn-jax | sed 's/.*-F \\([^ ]*\\).*/\\1/') crnn-jax {words[-1]!r}
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(
            ["bash", "-c", script + ask], capture_output=True, text=True, check=True, timeout=60
        )
        return set(done.stdout.split())

    assert completed("crnn-jax", "pre") == {"predict"}
    assert completed("crnn-jax", "import") == {"import-keras", "import-safetensors"}
    assert completed("crnn-jax", "evaluate", "--fo") == {"--format"}
    assert completed("crnn-jax", "evaluate", "--format", "j") == {"json"}
