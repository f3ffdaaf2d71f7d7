"""Trains (or resumes) a run in a process of its own, which a test kills: kill_me.py RUN STEPS [MODEL]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import toy

import creo
from creo.model import seeded

if __name__ == "__main__":
    out, steps, name = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "denoiser"
    toy.register()
    if out.exists():
        creo.resume(out, progress=False)
    else:
        data = creo.load_data("digits")
        with seeded(0):
            model = creo.build(name, data.space)
        creo.fit(
            model,
            data,
            steps=steps,
            out=out,
            save_every=0.05,
            eval_every=40,
            log_every=20,
            progress=False,
            threads=1,
        )
