"""The application behind uWSGI: files out of a folder, read in odd pieces."""

import os

BODIES = os.environ["PIPE_TESTS_BODIES"]

# Not a divisor of any buffer size, so that records and buffers never line up.
PIECE = 10007


def pieces(path):
    with open(path, "rb") as body:
        while piece := body.read(PIECE):
            yield piece


def application(environ, start_response):
    path = os.path.join(BODIES, os.path.basename(environ["PATH_INFO"]))
    if not os.path.isfile(path):
        start_response("404 Not Found", [("Content-Length", "0")])
        return []

    headers = [("Content-Type", "application/octet-stream")]
    # Without a length, the end of the connection or of the records ends the body.
    if not environ["PATH_INFO"].startswith("/unsized/"):
        headers.append(("Content-Length", str(os.path.getsize(path))))
    start_response("200 OK", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else pieces(path)
