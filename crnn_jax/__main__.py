"""`python -m crnn_jax`: see `crnn_jax.cli.main`."""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during an import prints no traceback

from crnn_jax.cli.main import program

if __name__ == "__main__":
    program()
