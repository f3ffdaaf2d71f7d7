"""The command line: one file per command, each a typed function whose docstring is its help.

A command's options are its function's keyword-only parameters; a model's are those of its `for_space`; training's are
the fields of `Settings`. They are read from the source (`creo.cli.options`), so none is declared twice and neither
`--help` nor completion in the shell imports torch.
"""

#: command -> `module:function`, in the order of help.
COMMANDS = {
    "demo": "creo.cli.compare:demo",
    "models": "creo.cli.listing:models",
    "data": "creo.cli.listing:data",
    "train": "creo.cli.train:train",
    "resume": "creo.cli.train:resume",
    "sample": "creo.cli.sample:sample",
    "plot": "creo.cli.plot:plot",
    "reflow": "creo.cli.reflow:reflow",
    "guide-sweep": "creo.cli.guide_sweep:guide_sweep",
    "complete": "creo.cli.complete:complete",
    "encode": "creo.cli.codes:encode",
    "decode": "creo.cli.codes:decode",
    "interpolate": "creo.cli.interpolate:interpolate",
    "evaluate": "creo.cli.evaluate:evaluate",
    "compare": "creo.cli.compare:compare",
    "outliers": "creo.cli.outliers:outliers",
    "report": "creo.cli.evaluate:report",
    "completion": "creo.cli.completion:completion",
}
