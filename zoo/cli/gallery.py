"""`zoo gallery`: the static site of all systems, built into a folder and, if asked, shown on this machine."""

from __future__ import annotations

import argparse
import time
import webbrowser
from pathlib import Path

from zoo.gallery.build import build, served


def gallery(options: argparse.Namespace) -> int:
    """Builds the site; with --serve it then answers on 127.0.0.1 until Ctrl-C."""
    out = Path(options.out)
    done = build(out)
    print(f"{out / 'index.html'}: {done}")
    if options.serve:
        with served(out) as address:
            print(f"{address} (Ctrl-C ends it)", flush=True)
            webbrowser.open(address)
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                print()
    return 0
