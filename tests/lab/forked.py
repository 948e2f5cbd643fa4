"""The server that processes of tests' own are forked off; it has imported and compiled all that any of them works with.

There is one for each process that runs tests, whoever asks first: what only one file named for it to import would have
been replaced by the next file's, and each process would have imported its own.
"""

import multiprocessing

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        "__main__",
        *("tests.lab.flags", "tests.lab.responder_process", "tests.lab.teller_process", "flows.service.receiver"),
        "tests.lab.warmed",
    ]
)
